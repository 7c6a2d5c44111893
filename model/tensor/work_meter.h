#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace skein {

class Stream;

/// What a piece of work must move and compute at the least, whatever does it.
struct Work {
    std::string_view name;  ///< of its family; outlives every meter
    double bytes = 0.0;     ///< each input read once and each output written once
    double flops = 0.0;     ///< floating-point operations of the formula
};

/// A place in the order of a stream's work, with the time at which the device came to it.
class Moment {
  public:
    void record(Stream& stream);
    /// Seconds from `earlier`, which was recorded on the same stream; of both, all that was queued before
    /// must be done. Throws CudaError.
    double seconds_since(const Moment& earlier) const;

  private:
    std::shared_ptr<void> event_;  // on a GPU, used again by the next record
    std::chrono::steady_clock::time_point time_;
};

/// Takes the device's time for each piece of work that a stream runs with it (Stream::set_meter). Waits for
/// nothing while it does. The time of two pieces is each one's own; what lies between them is nobody's.
class WorkMeter {
  public:
    struct Entry {
        Work work;
        double seconds = 0.0;
    };

    void begin(Stream& stream, const Work& work);
    void end(Stream& stream);
    /// What was run since the last call, in order. Waits for the stream. Throws CudaError.
    std::vector<Entry> take(Stream& stream);

  private:
    struct Span {
        Work work;
        Moment begun, ended;
    };
    std::vector<Span> spans_;  // kept: their events are used again
    std::size_t used_ = 0;
};

}  // namespace skein
