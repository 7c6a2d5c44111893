#include "launch/progress.h"

#include <unistd.h>

namespace skein {

Progress::Progress(std::FILE* out, double plain_seconds)
    : out_(out), is_terminal_(isatty(fileno(out)) == 1), next_(Clock::now()) {
    const std::chrono::duration<double> seconds(is_terminal_ ? 0.1 : plain_seconds);
    interval_ = std::chrono::duration_cast<Clock::duration>(seconds);
    if (!is_terminal_) next_ += interval_;
}

Progress::~Progress() {
    if (line_is_open_) std::fputs("\r\033[K", out_);
    std::fflush(out_);
}

void Progress::show(const std::string& line) {
    const Clock::time_point now = Clock::now();
    if (now < next_) return;
    next_ = now + interval_;
    if (is_terminal_) {
        std::fprintf(out_, "\r%s\033[K", line.c_str());
        line_is_open_ = true;
    } else {
        std::fprintf(out_, "%s\n", line.c_str());
    }
    std::fflush(out_);
}

}  // namespace skein
