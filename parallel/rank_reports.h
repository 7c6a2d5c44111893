#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "model/base/error.h"

namespace skein {

/// A rank that waited for others in vain, or met what they should not have sent. Several ranks may find that
/// at once: one of them, the same on all, is to speak of it.
class PeerError : public MpiError {
  public:
    PeerError(const std::string& line, int speaker) : MpiError(line), speaker_(speaker) {}
    /// A rank of the session.
    int speaker() const { return speaker_; }

  private:
    int speaker_;
};

/// What a rank that waits in a collective tells the others.
struct RankReport {
    int rank = 0;              ///< of the session
    std::vector<int> missing;  ///< ranks of the session that it waits for
    std::string where;         ///< the collective, its place and the phase
    int speaker = 0;           ///< of one that asks: who speaks, as far as it knows (ask() sets it)
};

/// How ranks that wait ask each other who it is that does not come: a rank that waits for one which itself
/// waits blames the wrong one. On a communicator of its own, with short messages whose end nobody waits for,
/// so that it works with any ranks stuck or gone. Only the thread that calls MPI uses it.
class RankReports {
  public:
    /// Collective over the session's ranks, as is the end, unless an error drives the rank out. Throws
    /// MpiError.
    RankReports();
    RankReports(const RankReports&) = delete;
    RankReports& operator=(const RankReports&) = delete;
    ~RankReports();

    /// Answers those that have asked; `mine` is called only then. Without blocking: a rank that waits calls
    /// it now and then.
    void answer(const std::function<RankReport()>& mine);

    struct Answers {
        std::vector<RankReport>
            reports;      ///< with this rank's own, by rank; those who computed did not answer
        int speaker = 0;  ///< the lowest of those that asked, but for one that had been asked before
    };
    /// Asks all others, and returns when those of `wanted` have answered, or after `seconds`.
    Answers ask(RankReport mine, std::span<const int> wanted, double seconds);

    /// Tells all others that this rank has said why it ends them all.
    void announce_end();

    /// Asks all others within `seconds` for whom they wait, and gives what those who wait said, with this
    /// rank's own, by rank; nothing when one of them ends all. It leaves no trace: ask() does not know of it.
    std::vector<RankReport> survey(const RankReport& mine, double seconds);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace skein
