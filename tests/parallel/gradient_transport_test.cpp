#include "parallel/gradient_transport.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "model/base/error.h"
#include "parallel/gpu_binding.h"

namespace skein {
namespace {

using enum TransportChoice;

TransportFacts facts_with(int ranks, bool on_gpus) {
    TransportFacts facts;
    facts.ranks = ranks;
    facts.on_gpus = on_gpus;
    return facts;
}
TransportFacts two_gpus() {
    return facts_with(2, true);
}

std::string refusal(TransportChoice choice, const TransportFacts& facts) {
    try {
        decide_transport(choice, facts);
    } catch (const ConfigError& error) {
        return std::string("ConfigError: ") + error.what();
    } catch (const CudaError& error) {
        return std::string("CudaError: ") + error.what();
    }
    return "none";
}

TEST(GradientTransport, GpusOfTheirOwnUseNccl) {
    for (const TransportChoice choice : {kAuto, kNccl}) {
        const TransportDecision decision = decide_transport(choice, two_gpus());
        EXPECT_EQ(decision.transport, GradientTransport::kNccl);
        EXPECT_EQ(decision.line, "");
    }
    EXPECT_EQ(decide_transport(kMpi, two_gpus()).transport, GradientTransport::kMpi);
}

TEST(GradientTransport, TheCpuAndALoneRankUseMpiAndSayNothing) {
    for (const TransportFacts& facts : {facts_with(4, false), facts_with(1, true)}) {
        const TransportDecision decision = decide_transport(kAuto, facts);
        EXPECT_EQ(decision.transport, GradientTransport::kMpi);
        EXPECT_EQ(decision.line, "");
    }
    EXPECT_EQ(refusal(kNccl, facts_with(4, false)),
              "ConfigError: --parallel.transport is nccl, which moves a GPU's memory, and this run is on the "
              "CPU; wanted auto or mpi");
}

TEST(GradientTransport, WithoutTheLibraryOneLineSaysWhatIsUsedInstead) {
    TransportFacts facts = two_gpus();
    facts.nccl_missing = "libnccl.so.2 was not found (rank 1)";
    const TransportDecision decision = decide_transport(kAuto, facts);
    EXPECT_EQ(decision.transport, GradientTransport::kMpi);
    EXPECT_EQ(decision.line,
              "NCCL is not used: libnccl.so.2 was not found (rank 1); gradients travel over MPI, through the "
              "host's memory");
    EXPECT_EQ(refusal(kNccl, facts),
              "CudaError: --parallel.transport is nccl, and NCCL cannot be used: libnccl.so.2 was not found "
              "(rank 1)");
    EXPECT_EQ(decide_transport(kMpi, facts).line, "");
}

TEST(GradientTransport, ASharedGpuUsesMpiUnlessEachRankHasAHostId) {
    TransportFacts facts = two_gpus();
    facts.shared = "ranks 0 and 1";
    facts.host_ids_distinct = false;
    const TransportDecision decision = decide_transport(kAuto, facts);
    EXPECT_EQ(decision.transport, GradientTransport::kMpi);
    EXPECT_EQ(decision.line,
              "NCCL is not used: ranks 0 and 1 share a GPU, which NCCL refuses unless each rank has an "
              "NCCL_HOSTID of its own; gradients travel over MPI, through the host's memory");
    EXPECT_EQ(refusal(kNccl, facts),
              "ConfigError: --parallel.transport is nccl, and ranks 0 and 1 share a GPU, which NCCL refuses "
              "unless each rank has an NCCL_HOSTID of its own");
    facts.host_ids_distinct = true;
    EXPECT_EQ(decide_transport(kAuto, facts).transport, GradientTransport::kNccl);
    EXPECT_NE(decide_transport(kAuto, facts).line, "");
}

TEST(GradientTransport, FactsComeFromWhatEachRankKnows) {
    std::vector<RankGpu> ranks{{true, "a", "1", "", ""}, {true, "a", "2", "", ""}, {true, "b", "1", "", ""}};
    TransportFacts facts = facts_of(ranks);
    EXPECT_EQ(facts.ranks, 3);
    EXPECT_TRUE(facts.on_gpus);
    EXPECT_EQ(facts.shared, "");
    EXPECT_TRUE(facts.host_ids_distinct);

    ranks.push_back({true, "a", "2", "x", "missing"});
    facts = facts_of(ranks);
    EXPECT_EQ(facts.shared, "ranks 1 and 3");
    EXPECT_TRUE(facts.host_ids_distinct);  // "" and "x"
    EXPECT_EQ(facts.nccl_missing, "missing (rank 3)");
    ranks[1].host_id = "x";
    EXPECT_FALSE(facts_of(ranks).host_ids_distinct);
    ranks[1].host_id = ranks[3].host_id = "";
    EXPECT_FALSE(facts_of(ranks).host_ids_distinct);

    ranks[0].on_gpu = false;
    EXPECT_FALSE(facts_of(ranks).on_gpus);
}

TEST(GpuBinding, TheLaunchersLocalRankIsFoundInItsOrder) {
    std::map<std::string, std::string> environment;
    const auto local_rank = [&] {
        return local_rank_of_launcher([&](const char* name) -> const char* {
            const auto at = environment.find(name);
            return at == environment.end() ? nullptr : at->second.c_str();
        });
    };
    EXPECT_EQ(local_rank(), std::nullopt);
    environment["SLURM_LOCALID"] = "5";
    EXPECT_EQ(local_rank(), 5);
    environment["MPI_LOCALRANKID"] = "3";
    EXPECT_EQ(local_rank(), 3);
    environment["OMPI_COMM_WORLD_LOCAL_RANK"] = "2";
    EXPECT_EQ(local_rank(), 2);
    environment["OMPI_COMM_WORLD_LOCAL_RANK"] = "two";
    EXPECT_EQ(local_rank(), 3);
}

}  // namespace
}  // namespace skein
