#include "launch/rank_place.h"

#include <iostream>

#include "launch/device.h"
#include "launch/memory.h"
#include "launch/threads.h"
#include "parallel/nccl_communicator.h"

namespace skein {
namespace {

/// Where this rank stands and computes, and how what it has travels. Collective; throws on all ranks or on
/// none.
RankPlace place_of_a_rank(const RunConfig& config, Ranks& ranks, std::optional<ProcessGrid>& grid) {
    RankPlace place;
    ranks.together([&] { grid.emplace(ranks.session(), config.parallel.tensor); });
    place.data = &grid->data();
    place.tensor = &grid->tensor();
    place.gpu = device_of_a_rank(config.device, ranks);
    const TransportFacts facts = gather_transport_facts(ranks.session(), ranks.world(), place.gpu);
    const RankMemory memory = memory_of_a_rank(place.gpu, ranks.session(), !facts.shared.empty());
    place.memory = memory.bytes;
    place.memory_of = memory.what;
    place.device_group = device_group_of(config.parallel, facts, ranks);
    return place;
}

}  // namespace

DeviceGroup device_group_of(const ParallelSection& parallel, const TransportFacts& facts, Ranks& ranks) {
    TransportDecision decision;
    ranks.together([&] { decision = decide_transport(parallel.transport, facts); });
    if (ranks.is_first() && !decision.line.empty()) std::cerr << decision.line << std::endl;
    if (decision.transport != GradientTransport::kNccl) return nullptr;
    return [&ranks, timeout = parallel.timeout](Stream& stream, Communicator& group) {
        return make_nccl_communicator(ranks.session(), group, stream, {.timeout_seconds = timeout});
    };
}

void run_on(Ranks& ranks, std::optional<ProcessGrid>& grid, TrainRequest& request) {
    const int own = own_processors(ranks);
    request.patience = &ranks.session().patience();
    request.name_of_rank = [&ranks](int rank) { return ranks.name_of(rank); };
    request.threads = [own, &ranks](int asked) { return threads_of_a_rank(asked, own, ranks); };
    request.place = [&](const RunConfig& config) { return place_of_a_rank(config, ranks, grid); };
}

}  // namespace skein
