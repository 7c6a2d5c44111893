#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launch/command.h"
#include "parallel/agreement.h"
#include "parallel/mpi_communicator.h"
#include "parallel/mpi_session.h"

namespace skein {

/// What together() throws on every rank when any of them failed.
class AgreedFailure : public std::exception {
  public:
    explicit AgreedFailure(Failure failure) : failure_(std::move(failure)) {}
    const Failure& failure() const { return failure_; }
    const char* what() const noexcept override { return failure_.message.c_str(); }

  private:
    Failure failure_;
};

/// The ranks that run one command: MPI, from its start to its end.
class Ranks {
  public:
    MpiSession& session() { return session_; }
    const MpiSession& session() const { return session_; }
    Communicator& world() { return world_; }
    bool is_first() const { return session_.rank() == 0; }
    /// "rank 3 on b"
    std::string name_of(int rank) const;

    /// Runs a part of the start-up on every rank, and then agrees on how it went: all ranks go on, or all get
    /// the same AgreedFailure, which ends the program with one line and one code. What befell some ranks and
    /// not all names the first of them and what it was at, but for a wrong use. Collective; `part` must not
    /// leave other ranks waiting in a collective of its own. An MpiError is not agreed on: it ends all at
    /// once.
    void together(const std::function<void()>& part);

  private:
    MpiSession session_;
    MpiCommunicator world_{session_};
};

/// Reads the command line on every rank and runs the command. An exception that is no AgreedFailure ends all
/// ranks at once and names its rank, as the others may be waiting for it. Returns the exit code, the same on
/// every rank that returns.
int run_on_ranks(const Command& command, const std::vector<std::string>& words);

}  // namespace skein
