#pragma once

#include <memory>

#include "model/tensor/communicator.h"
#include "parallel/mpi_session.h"

namespace skein {

/// Throws ConfigError when `tensor` (--parallel.tensor) does not divide the number of ranks.
void check_tensor_ranks(int tensor, int ranks);

/// The groups that one rank of a run belongs to. They must outlive this.
struct RankGroups {
    Communicator& world;   ///< all ranks
    Communicator& data;    ///< those that hold the same slices of the parameters
    Communicator& tensor;  ///< those that hold one copy of the parameters together
};

/// The world as data × tensor ranks: rank = data index · tensor size + tensor index, so that the ranks of one
/// tensor group are adjacent, on one node where that is possible. Owns the communicators. Must be dropped
/// before its session.
class ProcessGrid {
  public:
    /// Collective. Throws ConfigError, on every rank alike, when `tensor` does not divide the number of
    /// ranks.
    ProcessGrid(const MpiSession& session, int tensor);

    Communicator& world() { return *world_; }
    Communicator& data() { return *data_; }
    Communicator& tensor() { return *tensor_; }
    RankGroups groups() { return {*world_, *data_, *tensor_}; }

  private:
    std::unique_ptr<Communicator> world_, data_, tensor_;
};

}  // namespace skein
