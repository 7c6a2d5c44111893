#pragma once

namespace skein {

/// Turns SIGUSR1, SIGTERM and SIGINT into a flag, from construction to destruction; a second SIGINT ends the
/// process at once. One made while another lives shares its flag; the last to go gives the signals back.
class StopSignal {
  public:
    StopSignal();
    ~StopSignal();
    StopSignal(const StopSignal&) = delete;
    StopSignal& operator=(const StopSignal&) = delete;

    /// Whether one has come, to the one that lives.
    static bool requested();
    /// Whether SIGTERM has: a launcher sends it a second before it kills.
    static bool terminated();
};

}  // namespace skein
