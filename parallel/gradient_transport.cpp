#include "parallel/gradient_transport.h"

#include <cstdlib>
#include <sstream>
#include <vector>

#include "model/base/error.h"
#include "parallel/nccl_communicator.h"

namespace skein {

TransportFacts facts_of(std::span<const RankGpu> ranks) {
    TransportFacts facts;
    facts.ranks = static_cast<int>(ranks.size());
    facts.on_gpus = true;
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
        const RankGpu& one = ranks[rank];
        facts.on_gpus = facts.on_gpus && one.on_gpu;
        if (facts.nccl_missing.empty() && !one.nccl_missing.empty())
            facts.nccl_missing = text(one.nccl_missing, " (rank ", rank, ")");
        for (std::size_t before = 0; before < rank; ++before) {
            const RankGpu& other = ranks[before];
            if (!one.on_gpu || !other.on_gpu || one.node != other.node || one.place != other.place) continue;
            if (facts.shared.empty()) facts.shared = text("ranks ", before, " and ", rank);
            if (one.host_id.empty() || one.host_id == other.host_id) facts.host_ids_distinct = false;
        }
    }
    return facts;
}

TransportDecision decide_transport(TransportChoice choice, const TransportFacts& facts) {
    const bool asked = choice == TransportChoice::kNccl;
    if (asked && !facts.on_gpus)
        throw ConfigError(
            "--parallel.transport is nccl, which moves a GPU's memory, and this run is on the CPU; wanted "
            "auto or mpi");
    if (facts.ranks == 1 || !facts.on_gpus || choice == TransportChoice::kMpi) return {};
    constexpr const char* kInstead = "; gradients travel over MPI, through the host's memory";
    if (!facts.nccl_missing.empty()) {
        if (asked)
            throw CudaError(
                text("--parallel.transport is nccl, and NCCL cannot be used: ", facts.nccl_missing));
        return {GradientTransport::kMpi, text("NCCL is not used: ", facts.nccl_missing, kInstead)};
    }
    if (facts.shared.empty()) return {GradientTransport::kNccl, ""};
    if (facts.host_ids_distinct)
        return {GradientTransport::kNccl,
                text(facts.shared, " share a GPU; NCCL takes them for two machines by their NCCL_HOSTID")};
    const std::string refused =
        text(facts.shared, " share a GPU, which NCCL refuses unless each rank has an NCCL_HOSTID of its own");
    if (asked) throw ConfigError(text("--parallel.transport is nccl, and ", refused));
    return {GradientTransport::kMpi, text("NCCL is not used: ", refused, kInstead)};
}

TransportFacts gather_transport_facts(const MpiSession& session, Communicator& world,
                                      const std::optional<Gpu>& gpu) {
    RankGpu mine;
    mine.on_gpu = gpu.has_value();
    mine.node = session.host();
    if (gpu) {
        mine.nccl_missing = find_nccl().missing;
        if (mine.nccl_missing.empty()) mine.place = place_of(*gpu);
        if (const char* id = std::getenv("NCCL_HOSTID")) mine.host_id = id;
    }
    const std::string line = text(mine.on_gpu ? "gpu" : "cpu", '\n', mine.node, '\n', mine.place, '\n',
                                  mine.host_id, '\n', mine.nccl_missing, '\n');
    std::vector<RankGpu> all;
    for (const std::string& one : world.all_gather_text(line)) {
        std::istringstream in(one);
        RankGpu& rank = all.emplace_back();
        std::string device;
        std::getline(in, device);
        rank.on_gpu = device == "gpu";
        for (std::string* field : {&rank.node, &rank.place, &rank.host_id, &rank.nccl_missing})
            std::getline(in, *field);
    }
    return facts_of(all);
}

}  // namespace skein
