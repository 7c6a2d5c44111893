// A sharded optimizer in whole steps of a model: --parallel.zero 1.

#include <gtest/gtest.h>

#include "tests/support/thread_ranks.h"
#include "tests/trainer/small_training.h"

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

RunConfig config_of(const char* precision, const char* zero) {
    return small_config({{"train.precision", precision},
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

}  // namespace
}  // namespace skein
