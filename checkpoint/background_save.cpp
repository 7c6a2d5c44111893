#include "checkpoint/background_save.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <future>
#include <sstream>
#include <utility>

#include "checkpoint/checkpoint.h"
#include "checkpoint/rank_file.h"
#include "model/base/error.h"
#include "model/base/file_hashes.h"

namespace skein {
namespace {

// What a rank tells of its part: one of these, and when it is over the seconds that it took, a space and the
// errand's result.
constexpr char kBusy = 'b', kDone = 'd', kFailed = 'f';
// Ranks that wait for each other's disks say so often that none of them can be taken for one that is gone.
constexpr std::chrono::milliseconds kBetweenMessages{100};

/// What the ranks told about their files, put together. The texts are "HASH HASH ...\n[file hash as JSON]".
Manifest assemble(const CheckpointState& state, const std::vector<SharePiece>& pieces,
                  const std::vector<std::string>& told) {
    Manifest manifest;
    manifest.run = state.run;
    std::vector<std::istringstream> hashes;
    for (const std::string& one : told) {
        const std::size_t end = one.find('\n');
        hashes.emplace_back(one.substr(0, end));
        for (FileHash& file : parse_file_hashes(std::string_view(one).substr(end)))
            manifest.files.push_back(std::move(file));
    }
    for (const StateTensor& tensor : state.tensors)
        manifest.tensors.push_back({tensor.name, tensor.dtype, tensor.global_shape, {}});
    for (const SharePiece& piece : pieces) {
        TensorPiece& record = manifest.tensors[piece.tensor].pieces.emplace_back();
        record = {rank_file_name(piece.rank),
                  dataset_name(state.tensors[piece.tensor], piece),
                  piece.box.start,
                  piece.box.count,
                  {}};
        hashes[static_cast<std::size_t>(piece.rank)] >> record.hash;
    }
    return manifest;
}

}  // namespace

void BackgroundSave::start(Communicator& world, const CheckpointState& state,
                           const std::vector<SharePiece>& shares, Staging* staging) {
    name_ = checkpoint_name(state.run.step);
    seconds_ = 0.0;
    phase_ = world.size() == 1 ? Phase::kPublishing : Phase::kPreparing;
    try {
        own_ = pieces_of_rank(world.rank(), state.tensors, shares);
        if (staging) staging->take(own_);
        state_ = {state.run, {}, state.tokenizer};
        for (const StateTensor& tensor : state.tensors)
            state_.tensors.push_back({tensor.name, tensor.dtype, tensor.global_shape, {}});
        shares_ = shares;
    } catch (const std::exception& error) {
        errand_.fail(error.what());
        return;
    }
    if (world.size() > 1) return enter(world, Phase::kPreparing);
    errand_.begin([this](const std::stop_token& stop) {  // nobody to wait for in between
        prepare();
        publish({write(0, stop)});
        return std::string();
    });
}

void BackgroundSave::enter(Communicator& world, Phase phase) {
    phase_ = phase;
    if (phase != Phase::kWriting && world.rank() != 0) return errand_.skip();
    errand_.begin([this, phase, rank = world.rank(), told = told_](const std::stop_token& stop) {
        if (phase == Phase::kPreparing) prepare();
        if (phase == Phase::kWriting) return write(rank, stop);
        if (phase == Phase::kPublishing) publish(told);
        if (phase == Phase::kClearing) folder_.discard(name_, notes_);
        return std::string();
    });
}

void BackgroundSave::prepare() {
    // a manifest that cannot be read at the moment does not give its number to another
    sequence_ = std::max(folder_.prepare(name_, notes_), sequence_ + 1);
}

std::string BackgroundSave::write(int rank, const std::stop_token& stop) const {
    const std::string folder = folder_.temporary(name_), file = rank_file_name(rank);
    std::string hashes;
    for (const std::string& hash : write_rank_file(folder_.system(), folder, rank, own_, stop))
        hashes += hash + " ";
    // while the disk takes it, it is read back from the system's memory
    std::future<FileHash> read = std::async(std::launch::async, [&] { return hash_file(folder, file); });
    sync_file(folder_.system(), folder + "/" + file);
    return hashes + "\n" + file_hashes_json({read.get()});
}

void BackgroundSave::publish(const std::vector<std::string>& told) {
    Manifest manifest = assemble(state_, shares_, told);
    manifest.sequence = sequence_;
    folder_.publish(name_, std::move(manifest), state_.tokenizer);
    folder_.retire(name_, state_.run.best, notes_);
}

bool BackgroundSave::has_news_of_failure() const {
    const bool is_known = phase_ == Phase::kDraining || phase_ == Phase::kClearing;
    return is_under_way() && !is_known && errand_.is_over() && errand_.has_failed();
}

std::optional<SaveOutcome> BackgroundSave::move_on(Communicator& world) {
    const bool is_over = errand_.is_over(),
               is_known = phase_ == Phase::kDraining || phase_ == Phase::kClearing;
    std::string mine(1, !is_over ? kBusy : errand_.has_failed() ? kFailed : kDone);
    if (is_over) {
        mine += text(errand_.seconds(), " ", errand_.result());
        for (const std::string& note : std::exchange(notes_, {}))
            if (warn_) warn_(note);
    }
    told_ = world.all_gather_text(mine);
    bool is_any_busy = false;
    int failed = -1;
    double slowest = 0.0;
    for (std::size_t rank = told_.size(); rank-- > 0;) {
        const char state = told_[rank].front();
        if (state == kBusy) {
            is_any_busy = true;
            continue;
        }
        const std::size_t space = told_[rank].find(' ');
        slowest = std::max(slowest, std::stod(told_[rank].substr(1, space - 1)));
        told_[rank].erase(0, space + 1);
        if (state == kFailed) failed = static_cast<int>(rank);
    }
    if (failed >= 0 && !is_known) {
        const SaveOutcome outcome{"", failed, told_[static_cast<std::size_t>(failed)], 0.0};
        errand_.ask_to_stop();
        phase_ = Phase::kDraining;
        if (!is_any_busy) enter(world, Phase::kClearing);
        return outcome;
    }
    if (is_any_busy) return std::nullopt;
    seconds_ += slowest;
    switch (phase_) {
        case Phase::kPreparing:
            enter(world, Phase::kWriting);
            break;
        case Phase::kWriting:
            enter(world, Phase::kPublishing);
            break;
        case Phase::kDraining:
            enter(world, Phase::kClearing);
            break;
        case Phase::kPublishing:
            phase_ = Phase::kNone;
            return SaveOutcome{folder_.place(name_), -1, {}, seconds_};
        case Phase::kClearing:
        case Phase::kNone:
            phase_ = Phase::kNone;
            break;
    }
    return std::nullopt;
}

std::optional<SaveOutcome> BackgroundSave::finish(Communicator& world) {
    std::optional<SaveOutcome> outcome;
    while (is_under_way()) {
        errand_.wait_for(kBetweenMessages);
        if (auto known = move_on(world)) outcome = std::move(known);
    }
    return outcome;
}

}  // namespace skein
