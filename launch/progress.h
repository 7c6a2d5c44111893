#pragma once

#include <chrono>
#include <cstdio>
#include <string>

namespace skein {

/// A line that says how far a command is: updated in place on a terminal, else a plain line now and then.
class Progress {
  public:
    /// `out` must outlive it.
    explicit Progress(std::FILE* out, double plain_seconds = 10.0);
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    /// Leaves the cursor at the start of an empty line.
    ~Progress();

    /// Cheap when called often: it prints ten times a second at most.
    void show(const std::string& line);

  private:
    using Clock = std::chrono::steady_clock;
    std::FILE* out_;
    bool is_terminal_;
    Clock::duration interval_;
    Clock::time_point next_;
    bool line_is_open_ = false;
};

}  // namespace skein
