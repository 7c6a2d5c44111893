// A sharded optimizer in whole steps of a model: --parallel.zero 1.

#include <gtest/gtest.h>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/inspect.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/thread_ranks.h"
#include "tests/trainer/small_training.h"
#include "trainer/model_state.h"

namespace skein {
namespace {

/// Of forward: in 16 bits they are all that every rank has.
std::vector<std::byte> forward_values(ParameterList& parameters) {
    std::vector<std::byte> all;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const auto bytes = parameters[i].leaf.forward_value().raw_span();
        all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
}

/// Of a parameter of two blocks, whose boundary is inside a row, and many of one.
RunConfig config_of(const char* precision, const char* zero) {
    return small_config({{"train.precision", precision},
                         {"model.width", "144"},
                         {"model.layers", "1"},
                         {"train.loss-scale-start", "1e9"},  // overflows at first
                         {"parallel.zero", zero}});
}

TEST(Sharded, GivesTheBitsOfTheUnshardedRunOnAnyNumberOfRanks) {
    for (const char* precision : {"fp32", "bf16", "fp16"}) {
        Training one(config_of(precision, "0"));
        std::vector<StepOutcome> wanted;
        for (int i = 0; i < 14; ++i) wanted.push_back(one.run(i));
        const std::vector<std::byte> values = forward_values(one.parameters());
        EXPECT_EQ(wanted.back().updates < 14, std::string(precision) == "fp16") << "some were skipped";
        for (const int ranks : {1, 2, 3, 4})
            on_ranks(ranks, [&](Communicator& data) {
                Training rank(config_of(precision, "1"), 1, &data);
                for (int i = 0; i < 14; ++i) {
                    const StepOutcome found = rank.run(i);
                    const auto& step = wanted[static_cast<std::size_t>(i)];
                    EXPECT_EQ(found.loss, step.loss);
                    EXPECT_EQ(found.updates, step.updates);
                    if (!found.skipped) {
                        EXPECT_EQ(found.gradient_norm, step.gradient_norm);
                    }
                }
                EXPECT_EQ(forward_values(rank.parameters()), values) << precision << " on " << ranks;
                EXPECT_EQ(rank.step.loss_scale(), one.step.loss_scale());
            });
    }
}

TEST(Sharded, ARankHoldsItsShareOfTheOptimizersState) {
    const RunConfig config =
        small_config({{"parallel.zero", "1"}, {"train.precision", "bf16"}, {"model.width", "128"}});
    on_ranks(4, [&](Communicator& data) {
        Training rank(config, 1, &data);
        rank.run(0);
        const auto all = static_cast<double>(rank.parameters().elements());
        const double share = static_cast<double>(rank.step.optimizer().bytes()) / (12.0 * all);
        // a block of 65,536 at either end, of half a million
        EXPECT_NEAR(share, 0.25, 65'536.0 / all) << all;
    });
}

/// How many ranks, and --parallel.zero.
struct Grid {
    int ranks;
    const char* zero;
};

/// Trains on from the checkpoint, if there is one, until `end` and saves; gives what forward reads then.
std::vector<std::byte> train(const std::string& folder, const char* precision, Grid grid, bool from,
                             int end) {
    std::vector<std::byte> values;
    on_ranks(grid.ranks, [&](Communicator& data) {
        Training rank(config_of(precision, grid.zero), 1, &data);
        std::int64_t step = 0;
        if (from) {
            HostState state(rank.stream);
            add_training_state(state, rank.parameters(), rank.step.optimizer());
            const Checkpoint checkpoint = find_checkpoint(data, folder, nullptr);
            checkpoint.load(data, state.tensors());
            state.write_back();
            rank.parameters().refresh_copies(rank.stream);
            const RunState& run = checkpoint.manifest().run;
            rank.step.resume(static_cast<std::int64_t>(run.updates), run.loss_scale);
            step = static_cast<std::int64_t>(run.step);
        }
        CheckpointState saved;
        for (; step < end; ++step) saved.run.updates = static_cast<std::uint64_t>(rank.run(step).updates);
        saved.run.step = static_cast<std::uint64_t>(step);
        saved.run.loss_scale = rank.step.loss_scale();
        HostState state(rank.stream);
        add_training_state(state, rank.parameters(), rank.step.optimizer());
        saved.tensors = state.tensors();
        const SaveOutcome outcome = CheckpointStore(folder, 5, nullptr).save(data, saved);
        EXPECT_TRUE(outcome) << outcome.message;
        if (data.rank() == 0) values = forward_values(rank.parameters());
    });
    return values;
}

TEST(Sharded, GoesOnFromWhatAnyOtherGridSaved) {
    for (const char* precision : {"fp32", "fp16"}) {
        const TemporaryFolder reference;
        const std::vector<std::byte> wanted = train(reference.path(), precision, {1, "0"}, false, 12);
        const CheckpointInspection whole = inspect_checkpoint(reference / checkpoint_name(12));
        EXPECT_TRUE(whole.faults.empty());
        for (const auto& [first, second] :
             {std::pair(Grid{1, "0"}, Grid{3, "1"}), std::pair(Grid{3, "1"}, Grid{1, "0"}),
              std::pair(Grid{4, "1"}, Grid{2, "1"}), std::pair(Grid{2, "0"}, Grid{2, "1"})}) {
            const TemporaryFolder folder;
            train(folder.path(), precision, first, false, 7);
            EXPECT_EQ(train(folder.path(), precision, second, true, 12), wanted) << precision;
            const CheckpointInspection found = inspect_checkpoint(folder / checkpoint_name(12));
            std::size_t most = 0;  // of pieces of a tensor
            for (const TensorRecord& tensor : found.manifest->tensors)
                most = std::max(most, tensor.pieces.size());
            // three ranks' cuts are between parameters
            EXPECT_EQ(most, second.ranks == 2 ? 4u : 1u) << "two blocks, whose boundary is inside a row";
            EXPECT_EQ(found.parameters_hash, whole.parameters_hash);
            EXPECT_EQ(found.state_hash, whole.state_hash);
        }
    }
}

}  // namespace
}  // namespace skein
