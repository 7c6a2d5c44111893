#pragma once

#include <cstdlib>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/inspect.h"
#include "parallel/agreement.h"
#include "tests/support/faulty_system.h"
#include "tests/trainer/small_run.h"
#include "trainer/trainer.h"

namespace skein {

/// A SavingRun stands at kFirstStep, is disturbed on its way to kDisturbedStep, and goes on to kLastStep.
constexpr int kFirstStep = 2, kDisturbedStep = 8, kLastStep = 10;

/// A run with so few tensors that its saves make few calls. It saves every fourth step, at new best ones
/// among the third, sixth and last, and at the end.
struct SavingRun {
    std::string data, out;

    static Settings settings(int steps, bool background) {
        return {{"model.layers", "1"},
                {"model.width", "8"},
                {"model.heads", "1"},
                {"model.bias", "false"},
                {"model.position", "none"},
                {"train.steps", std::to_string(steps)},
                {"schedule.horizon", "10"},
                {"schedule.peak", "0.01"},
                {"schedule.warmup", "0"},
                {"eval.every", "3"},
                {"checkpoint.every", "4"},
                {"checkpoint.keep", "2"},
                {"checkpoint.background", background ? "true" : "false"}};
    }

    /// Makes data, and the run.
    static void begin(const std::string& folder) {
        write_small_shard(folder, "train", 2000, 1);
        write_small_shard(folder, "valid", 200, 1);
        SoloCommunicator alone;
        FaultySystem quick;
        SavingRun{folder, folder + "/run", {}}.train(alone, quick, kFirstStep);
    }

    /// Goes on up to a step, on these ranks. What is said is in `lines`, on rank 0. Throws, on all ranks.
    void train(Communicator& world, FileSystem& files, int steps, bool background = true) {
        TrainRequest request;
        const Settings chosen = settings(steps, background);
        request.config = small_config(chosen);
        for (const auto& [name, value] : chosen) request.given.insert(name);
        request.data = data;
        request.out = out;
        request.threads = [](int) { return 1; };
        request.files = &files;
        TrainObserver observer;
        observer.line = [&](const std::string& line) { lines.push_back(line); };
        const Together together = [&](const std::function<void()>& part) {
            std::optional<Failure> mine;
            try {
                part();
            } catch (const std::exception& error) {
                mine = Failure{1, error.what()};
            }
            if (const auto failure = agree_on_failure(world, mine))
                throw std::runtime_error(failure->message);
        };
        const StopSignal stop;
        Trainer(request, world, together, observer).run(stop);
    }

    /// The newest good checkpoint's step, whose best one must be good as well; 0: none.
    int newest() const {
        SoloCommunicator alone;
        const auto found = newest_checkpoint(alone, out + "/checkpoints", nullptr);
        if (!found) return 0;
        const RunState& run = found->manifest().run;
        if (run.best) Checkpoint::open(alone, out + "/checkpoints/" + checkpoint_name(run.best->step));
        return static_cast<int>(run.step);
    }

    /// Goes on alone to the last step and gives the hashes of what came out.
    std::string end() {
        SoloCommunicator alone;
        FaultySystem quick;
        train(alone, quick, kLastStep);
        const CheckpointInspection found =
            inspect_checkpoint(out + "/checkpoints/" + checkpoint_name(kLastStep));
        return found.parameters_hash + " " + found.state_hash;
    }

    std::vector<std::string> lines;
};

/// The number in "…/step-00000004.tmp/…"; 0: it has none.
inline int step_in(const std::string& path) {
    const std::size_t at = path.rfind("step-");
    return at == std::string::npos ? 0 : std::atoi(path.c_str() + at + 5);
}

/// Of every how many calls one is met by a test: of each one where SKEIN_TEST_ALL_CALLS is 1.
inline int stride_of_calls(int usual) {
    const char* all = std::getenv("SKEIN_TEST_ALL_CALLS");
    return all && *all == '1' ? 1 : usual;
}

}  // namespace skein
