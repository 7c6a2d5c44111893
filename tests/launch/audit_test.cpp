// One flipped bit in what one data-parallel rank has of the parameters ends the run before it is saved.

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>

#include "checkpoint/inspect.h"
#include "launch/failure.h"
#include "launch/ranks.h"
#include "model/base/error.h"
#include "tests/support/temporary_folder.h"
#include "tests/trainer/small_run.h"
#include "trainer/trainer.h"

namespace skein {
namespace {

/// A bit of the rank's memory that flips behind a step; no rank: none does.
struct Flip {
    int rank = -1;
    std::int64_t step = 0;
};

struct Ended {
    int code = 0;
    std::string line;  ///< what rank 0 said
};

/// A run of 20 steps that saves every fifth. Collective; OUT is that of all ranks.
Ended train(const std::string& folder, const Settings& settings, Flip flip) {
    Command command;
    command.name = "try";
    command.run_on_ranks = [&](const Arguments&, Ranks& ranks) {
        Settings all{{"train.steps", "20"}, {"checkpoint.every", "5"}, {"eval.every", "0"}};
        all.insert(all.end(), settings.begin(), settings.end());
        TrainRequest request;
        request.config = small_config(all);
        for (const auto& [name, value] : all) request.given.insert(name);
        request.data = folder;
        request.out = folder + "/run";
        request.threads = [](int) { return 1; };
        request.name_of_rank = [&](int rank) { return ranks.name_of(rank); };
        Trainer* running = nullptr;
        TrainObserver observer;
        observer.step = [&](const TrainProgress& at) {
            if (at.step != flip.step || ranks.session().rank() != flip.rank) return;
            running->parameters()[3].leaf.value.raw_span()[5] ^= std::byte{4};
        };
        Trainer trainer(
            request, ranks.world(), [&](const auto& part) { ranks.together(part); }, observer);
        running = &trainer;
        const StopSignal stop;
        trainer.run(stop);
        return kExitDone;
    };
    testing::internal::CaptureStderr();
    const int code = run_on_ranks(command, {});
    return {code, testing::internal::GetCapturedStderr()};
}

/// A folder of rank 0's, with a shard to train on.
class Audit : public testing::Test {
  protected:
    Audit() {
        if (session_.rank() == 0) write_small_shard(own_.path(), "train", 2000, 1);
        path_ = world_.broadcast_text(own_.path(), 0);
    }
    /// No rank drops what another looks at.
    ~Audit() override { world_.barrier(); }

    std::set<std::string> checkpoints() const {
        std::set<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(path_ + "/run/checkpoints"))
            names.insert(entry.path().filename().string());
        return names;
    }
    std::string hash_of(const std::string& checkpoint) const {
        const CheckpointInspection found = inspect_checkpoint(path_ + "/run/checkpoints/" + checkpoint);
        EXPECT_TRUE(found.faults.empty());
        return found.parameters_hash;
    }
    /// The run ends at the audit of this step, with one line that has all pieces.
    void expect_found(const Ended& ended, const std::string& step, int odd) {
        EXPECT_EQ(ended.code, 71) << ended.line;
        if (session_.rank() != 0) return;
        const std::string me = session_.host_of(0);
        const std::string begin = session_.size() == 2
                                      ? "rank 0 on " + me + " and rank 1 on " + me + " differ"
                                      : "rank " + std::to_string(odd) + " on " + me + " differs from the " +
                                            std::to_string(session_.size() - 1) + " others";
        EXPECT_NE(ended.line.find("skein try: audit at step " + step + ": " + begin +
                                  ", first in parameters/" + name_),
                  std::string::npos)
            << ended.line;
        EXPECT_EQ(checkpoints(), std::set<std::string>{"step-00000005"});
        hash_of("step-00000005");
    }

    const MpiSession session_;
    MpiCommunicator world_{session_};
    TemporaryFolder own_;
    std::string path_;
    std::string name_ = [] {
        Stream stream(1);
        return make_objective(stream, small_config().model, 1)->model().parameters()[3].name;
    }();
};

TEST_F(Audit, FindsAFlippedBitOnAnyRankAndTheRunGoesOnFromBeforeIt) {
    const Ended whole = train(path_, {{"checkpoint.audit", "1"}}, {});
    EXPECT_EQ(whole.code, 0) << whole.line;
    const std::string last = "step-00000020", wanted = session_.rank() == 0 ? hash_of(last) : "";
    for (int odd = 0; odd < session_.size(); ++odd) {
        if (session_.rank() == 0) std::filesystem::remove_all(path_ + "/run");
        world_.barrier();
        expect_found(train(path_, {{"checkpoint.audit", "3"}}, {odd, 7}), "9", odd);
        const Ended again = train(path_, {{"checkpoint.audit", "3"}}, {});
        EXPECT_EQ(again.code, 0) << again.line;
        EXPECT_EQ(session_.rank() == 0 ? hash_of(last) : "", wanted);
    }
}

TEST_F(Audit, IsMadeBeforeEverySave) {
    expect_found(train(path_, {{"checkpoint.audit", "100"}}, {1, 7}), "10", 1);
}

TEST_F(Audit, IsNotMadeUnlessAsked) {
    const Ended ended = train(path_, {}, {1, 7});
    EXPECT_EQ(ended.code, 0) << ended.line;
}

}  // namespace
}  // namespace skein
