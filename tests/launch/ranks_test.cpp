#include "launch/ranks.h"

#include <gtest/gtest.h>

#include "model/base/error.h"

namespace skein {
namespace {

Command command_that_runs(std::function<int(const Arguments&, Ranks&)> run) {
    Command command;
    command.name = "try";
    command.run_options = {"train"};
    command.run_on_ranks = std::move(run);
    return command;
}

TEST(Ranks, AllReturnWhatTheCommandReturns) {
    const Command command = command_that_runs([](const Arguments& arguments, Ranks& ranks) {
        ranks.together([] {});
        return static_cast<int>(arguments.config.train.steps);
    });
    EXPECT_EQ(run_on_ranks(command, {"--train.steps", "75"}), 75);
}

TEST(Ranks, AWrongCommandLineEndsAllWithOneCode) {
    const Command command = command_that_runs([](const Arguments&, Ranks&) { return 0; });
    EXPECT_EQ(run_on_ranks(command, {"--train.stepz", "75"}), 64);
}

TEST(Ranks, AFailureOfOneRankAtStartUpEndsAllWithItsCode) {
    const Command command = command_that_runs([](const Arguments&, Ranks& ranks) {
        ranks.together([&] {
            if (ranks.session().rank() == ranks.session().size() - 1) throw DataError("shard 3 is damaged");
        });
        return 0;
    });
    EXPECT_EQ(run_on_ranks(command, {}), 65);
}

TEST(Ranks, TheLineNamesWhatFailed) {
    Ranks ranks;
    try {
        ranks.together([&] { throw MissingError("no such folder"); });
        FAIL() << "no failure";
    } catch (const AgreedFailure& agreed) {
        EXPECT_EQ(agreed.failure().message, "no such folder");
        EXPECT_EQ(agreed.failure().code, 66);
        EXPECT_EQ(agreed.failure().rank, 0);
    }
}

/// The line that all ranks get when `part` fails on the last one.
template <class Part>
std::string line_of_the_last(Ranks& ranks, const Part& part) {
    try {
        ranks.together([&] {
            if (ranks.session().rank() == ranks.session().size() - 1) part();
        });
        return "no failure";
    } catch (const AgreedFailure& agreed) {
        return agreed.failure().message;
    }
}

TEST(Ranks, WhatBefallsOneRankNamesItItsHostAndWhatItWasAt) {
    Ranks ranks;
    const int last = ranks.session().size() - 1;
    ranks.session().patience().set_phase("step", 12);
    EXPECT_EQ(line_of_the_last(ranks, [] { throw DataError("shard 3 is damaged"); }),
              last == 0
                  ? "shard 3 is damaged"
                  : text("rank ", last, " on ", ranks.session().host(), " (step 12): shard 3 is damaged"));
    EXPECT_EQ(line_of_the_last(ranks, [] { throw ConfigError("--out is in use"); }), "--out is in use")
        << "no rank's fault";
}

}  // namespace
}  // namespace skein
