#pragma once

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <string>
#include <string_view>
#include <vector>

#include "model/base/files.h"

namespace skein {

/// Counts the system calls of one rank, of which one thread at a time makes some, and from a given one on
/// does something else. fsync is counted but not made: no test loses the machine's power, and what the order
/// of fsyncs must be is checked by itself.
class FaultySystem final : public FileSystem {
  public:
    enum class Mode { kNone, kFailOnce, kFailFromHereOn, kShortWrites, kKill };

    explicit FaultySystem(Mode mode = Mode::kNone, int at = INT_MAX, int error = EIO)
        : mode_(mode), at_(at), error_(error) {}
    int calls() const { return calls_; }
    /// What each call was about.
    const std::vector<std::string>& paths() const { return paths_; }
    /// The numbers of the calls, from 1 on, by which a checkpoint got its name.
    const std::vector<int>& published() const { return published_; }
    int fsyncs() const { return fsyncs_; }
    int renames() const { return renames_; }

    int open(const char* path, int flags, mode_t mode) override {
        const int descriptor = fails(path) ? -1 : FileSystem::open(path, flags, mode);
        if (descriptor >= 0) opened_ = path;
        return descriptor;
    }
    ssize_t write(int descriptor, const void* bytes, std::size_t count) override {
        if (fails(opened_)) return -1;
        if (mode_ == Mode::kShortWrites && calls_ >= at_) count = (count + 1) / 2;
        return FileSystem::write(descriptor, bytes, count);
    }
    int fsync(int) override {
        ++fsyncs_;
        return fails(opened_) ? -1 : 0;
    }
    int close(int descriptor) override {
        const bool bad = fails(opened_);
        const int result = FileSystem::close(descriptor);  // a close that fails has closed all the same
        if (bad) errno = error_;
        return bad ? -1 : result;
    }
    int rename(const char* from, const char* to) override {
        ++renames_;
        if (fails(from) || FileSystem::rename(from, to) != 0) return -1;
        if (std::string_view(from).ends_with(".tmp") && !std::string_view(to).ends_with(".tmp"))
            published_.push_back(calls_);
        return 0;
    }
    int unlink(const char* path) override { return fails(path) ? -1 : FileSystem::unlink(path); }
    int mkdir(const char* path, mode_t mode) override {
        return fails(path) ? -1 : FileSystem::mkdir(path, mode);
    }
    int rmdir(const char* path) override { return fails(path) ? -1 : FileSystem::rmdir(path); }
    int before_library_write(const char* path) override { return fails(path) ? -1 : 0; }

  private:
    bool fails(const std::string& path) {
        ++calls_;
        paths_.push_back(path);
        if (mode_ == Mode::kKill && calls_ == at_) ::kill(::getpid(), SIGKILL);
        const bool bad =
            (mode_ == Mode::kFailOnce && calls_ == at_) || (mode_ == Mode::kFailFromHereOn && calls_ >= at_);
        if (bad) errno = error_;
        return bad;
    }

    Mode mode_;
    int at_, error_, calls_ = 0, fsyncs_ = 0, renames_ = 0;
    std::string opened_;  // one file at a time is open
    std::vector<std::string> paths_;
    std::vector<int> published_;
};

}  // namespace skein
