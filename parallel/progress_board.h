#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "model/tensor/communicator.h"
#include "parallel/mpi_session.h"

namespace skein {

/// A number that each rank of a group writes down and the others may read without its help: how far it has
/// come, for those that wait for it. A window of MPI's with passive targets: among ranks of one node, and
/// over networks with remote memory access, a rank that is stuck anywhere can be read; over others MPI
/// answers for it only while it is inside some call of MPI's, and a rank that does not answer is told apart.
class ProgressBoard {
  public:
    /// Collective over all ranks of the session, each of which gives its own group. Throws MpiError.
    ProgressBoard(const MpiSession& session, Communicator& group);
    /// As collective, unless it was abandoned or an error drives the ranks out.
    ~ProgressBoard();
    /// Its end is not waited for: other ranks may not come to theirs.
    void abandon();

    /// Writes this rank's number down.
    void publish(std::uint64_t number);
    /// Lets MPI answer the others' questions. Without blocking.
    void answer() const;
    struct Entry {
        int rank = 0;                         ///< of the session
        std::optional<std::uint64_t> number;  ///< none: the rank did not answer
    };
    /// By rank of the group; waits up to `patience_seconds` for answers. Throws MpiError.
    std::vector<Entry> read(double patience_seconds) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace skein
