#include "trainer/checkpoint_times.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "checkpoint/checkpoint_store.h"
#include "model/base/error.h"
#include "model/base/files.h"
#include "model/base/parallel_for.h"
#include "trainer/model_state.h"
#include "trainer/run_rules.h"
#include "trainer/training_step.h"

namespace skein {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kPieceBytes = std::size_t{8} << 20;

/// Of the slowest rank, in each round.
class Times {
  public:
    explicit Times(Communicator& world) : world_(world) {}

    /// Collective: all ranks begin at the same time.
    void take(const std::function<void()>& work) {
        world_.barrier();
        const auto start = Clock::now();
        work();
        add(start);
    }
    void add(Clock::time_point start) {
        const double mine = std::chrono::duration<double>(Clock::now() - start).count();
        seconds_.push_back(world_.all_reduce_value(mine, Reduction::kMax));
    }
    double median() {
        std::ranges::sort(seconds_);
        return seconds_[seconds_.size() / 2];
    }

  private:
    Communicator& world_;
    std::vector<double> seconds_;
};

void copy(int threads, std::span<const std::byte> from, std::span<std::byte> to) {
    parallel_for(threads, threads, [&](std::int64_t thread) {
        const std::size_t begin = from.size() / static_cast<std::size_t>(threads) *
                                  static_cast<std::size_t>(thread),
                          end = thread + 1 == threads
                                    ? from.size()
                                    : begin + from.size() / static_cast<std::size_t>(threads);
        std::memcpy(to.data() + begin, from.data() + begin, end - begin);
    });
}

/// Reads a byte of every line, as the step before a save has used them all.
void use(int threads, std::span<const std::byte> bytes) {
    constexpr std::int64_t kLine = 64;
    const std::int64_t lines = std::ssize(bytes) / kLine;
    parallel_for(threads, threads, [&](std::int64_t thread) {
        std::byte all{};
        for (std::int64_t i = lines * thread / threads; i < lines * (thread + 1) / threads; ++i)
            all |= bytes[static_cast<std::size_t>(i * kLine)];
        static_cast<void>(*const_cast<volatile std::byte*>(&all));
    });
}

void write_plainly(const std::string& path, std::span<const std::byte> bytes) {
    FileWriter file(FileSystem::real(), path);
    for (std::size_t at = 0; at < bytes.size(); at += kPieceBytes) {
        const auto piece = bytes.subspan(at, std::min(kPieceBytes, bytes.size() - at));
        file.write({reinterpret_cast<const char*>(piece.data()), piece.size()});
    }
    file.finish();
}

RunConfig config_of(const BenchShape& shape, int ranks) {
    RunConfig config;
    config.model = shape.model;
    config.train.batch = shape.batch;
    for (config.parallel.lanes = 1; config.parallel.lanes < ranks;) config.parallel.lanes *= 2;
    return effective(config);
}

}  // namespace

CheckpointTimes time_checkpoint(const BenchShape& shape, int threads, const std::string& folder, int rounds,
                                Communicator& world) {
    Stream stream(threads);
    const RunConfig config = config_of(shape, world.size());
    const std::unique_ptr<Objective> objective = make_objective(stream, config.model, 1);
    const TrainingStep step(config, *objective, stream, world);
    const auto host_state = [&] {
        HostState state(stream);
        add_training_state(state, objective->model().parameters(), step.optimizer());
        return state;
    };
    HostState state = host_state();
    for (const StateTensor& tensor : state.tensors())
        for (const StateTensor::Part& part : tensor.parts)
            if (!tensor.name.starts_with(kParametersPrefix))  // moments are 0 so far
                std::memset(part.bytes.data(), 0x3c, part.bytes.size());
    const std::vector<SharePiece> shares = agree_on_shares(world, state.tensors());
    Staging staging(bytes_of_pieces(pieces_of_rank(world.rank(), state.tensors(), shares)), threads);
    const auto warm = [&] { return std::vector<std::byte>(staging.bytes(), std::byte{1}); };
    const std::vector<std::byte> from = warm();
    std::vector<std::byte> to = warm();

    create_folders(FileSystem::real(), folder);
    const std::string checkpoints = folder + "/checkpoints",
                      plain = folder + "/plain-" + std::to_string(world.rank());
    const CheckpointStore store(checkpoints, 1, nullptr);
    const auto saving = store.background();
    const auto good = [](const std::optional<SaveOutcome>& outcome) {
        if (!outcome || !*outcome)
            throw IoError(text("bench: rank ", outcome->failed_rank, " could not save: ", outcome->message));
        return outcome->folder;
    };
    Times held_up(world), durable(world), waited_for(world), copied(world), written(world), loaded(world),
        read(world);
    CheckpointState what;
    const auto start = [&](Staging* through) {
        HostState now = host_state();
        what.tensors = now.tensors();
        saving->start(world, what, shares, through);
    };
    const auto save_behind = [&] {
        ++what.run.step;
        for (const StateTensor& tensor : state.tensors())
            for (const StateTensor::Part& part : tensor.parts) use(threads, part.bytes);
        world.barrier();
        const auto began = Clock::now();
        start(&staging);
        held_up.add(began);
        good(saving->finish(world));
        durable.add(began);
    };
    const auto save_and_load = [&] {
        ++what.run.step;
        std::string saved;
        waited_for.take([&] {
            start(nullptr);
            saved = good(saving->finish(world));
        });
        loaded.take([&] { Checkpoint::open(world, saved).load(world, state.tensors()); });
        read.take([&] {
            read_pieces(saved + "/" + rank_file_name(world.rank()), kPieceBytes,
                        [&](std::string_view piece) { return !piece.empty(); });
        });
    };
    const auto copy_and_write = [&] {  // as a save in the background does, from its copy
        use(threads, from);
        copied.take([&] { copy(threads, from, to); });
        written.take([&] { write_plainly(plain, to); });
        FileSystem::real().unlink(plain.c_str());
    };
    // What is written is slower behind what was written before, where a disk's speed or a virtual machine's
    // memory is shared out by credit: so every other round goes backwards.
    std::vector<std::function<void()>> parts{save_behind, save_and_load, copy_and_write};
    for (int round = 0; round < rounds; ++round) {
        for (const std::function<void()>& part : parts) part();
        std::ranges::reverse(parts);
    }
    world.barrier();
    if (world.rank() == 0) remove_folder(FileSystem::real(), checkpoints);
    CheckpointTimes times;
    times.bytes =
        static_cast<std::size_t>(world.all_reduce_value(static_cast<std::int64_t>(staging.bytes())));
    times.held_up = held_up.median();
    times.durable = durable.median();
    times.waited_for = waited_for.median();
    times.copy = copied.median();
    times.write = written.median();
    times.load = loaded.median();
    times.read = read.median();
    return times;
}

}  // namespace skein
