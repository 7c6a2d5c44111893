#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <string>

#include "tests/support/temporary_folder.h"
#include "tests/trainer/small_run.h"
#include "trainer/trainer.h"

namespace skein {

/// Runs of a small decoder in one folder, on one rank.
class TrainerTest : public testing::Test {
  protected:
    TrainerTest() {
        write_small_shard(folder_.path(), "train", 2000, 1);
        write_small_shard(folder_.path(), "valid", 200, 1);
    }

    TrainResult train(const Settings& settings) {
        TrainRequest request;
        request.config = small_config(settings);
        for (const auto& [name, value] : settings) request.given.insert(name);
        request.data = folder_.path();
        request.out = folder_ / "run";
        request.threads = [](int) { return 1; };
        request.files = files_;
        lines_.clear();
        const StopSignal stop;
        TrainObserver observer;
        observer.step = on_step_;
        observer.line = [&](const std::string& line) { lines_ += line + "\n"; };
        Trainer trainer(
            request, world_, [](const std::function<void()>& part) { part(); }, observer);
        return trainer.run(stop);
    }

    std::set<std::string> checkpoints() const {
        std::set<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(folder_ / "run/checkpoints"))
            names.insert(entry.path().filename().string());
        return names;
    }

    std::string contents_of(const std::string& name) const {
        std::ifstream in(folder_ / ("run/" + name));
        return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    }

    TemporaryFolder folder_;
    SoloCommunicator world_;
    FileSystem* files_ = &FileSystem::real();
    std::function<void(const TrainProgress&)> on_step_;
    std::string lines_;
};

}  // namespace skein
