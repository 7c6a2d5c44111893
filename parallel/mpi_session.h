#pragma once

#include <memory>
#include <string>
#include <vector>

#include "parallel/patience.h"
#include "parallel/rank_reports.h"

namespace skein {

/// MPI, from its start to its end; the first thing a rank makes and the last it drops. Only the thread that
/// made it calls MPI. A process that no launcher started is the one rank of a world of its own. Where MPI
/// runs already (under a test's main, say) the session uses it and leaves its end to whoever started it.
///
/// Its start and its end are MPI's own collectives, and so are making and dropping communicators: a rank that
/// does not come to one of those is waited for as long as it takes.
class MpiSession {
  public:
    /// Throws MpiError.
    MpiSession();
    MpiSession(const MpiSession&) = delete;
    MpiSession& operator=(const MpiSession&) = delete;
    /// Waits for the other ranks to come to their end too. Left by an exception with other ranks about, it
    /// ends all of them with code 70, as they cannot know: catch errors within the session's life.
    ~MpiSession();

    int rank() const { return rank_; }
    int size() const { return size_; }
    /// This rank's number among those on its node, and how many these are.
    int local_rank() const { return local_rank_; }
    int local_size() const { return local_size_; }
    const std::string& host() const { return host_of(rank_); }
    const std::string& host_of(int rank) const { return hosts_[static_cast<std::size_t>(rank)]; }
    /// Whether Open MPI's launcher bound the rank to processors, by its default or on request.
    bool bound_by_launcher() const { return bound_by_launcher_; }

    /// Of all communicators that are made of this session.
    Patience& patience() const { return *patience_; }
    RankReports& reports() const { return *reports_; }

    /// Ends every rank at once; the launcher returns `code`. Print what there is to say before.
    [[noreturn]] void abort(int code) const noexcept;

  private:
    bool owner_ = false;
    int rank_ = 0, size_ = 1;
    int local_rank_ = 0, local_size_ = 1;
    int exceptions_ = 0;
    std::vector<std::string> hosts_;  // by rank
    std::unique_ptr<Patience> patience_ = std::make_unique<Patience>();
    std::unique_ptr<RankReports> reports_;
    bool bound_by_launcher_ = false;
};

}  // namespace skein
