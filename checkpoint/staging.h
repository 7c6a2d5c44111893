#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "checkpoint/rank_file.h"
#include "model/tensor/pool.h"

namespace skein {

/// Memory that a rank writes a checkpoint from while training changes the tensors: a copy of what it writes,
/// not of all that it holds.
class Staging {
  public:
    /// Room for `bytes`, all of which is touched, so that no copy waits for the system to hand out pages.
    /// Throws std::bad_alloc.
    Staging(std::size_t bytes, int threads);

    std::size_t bytes() const { return size_; }
    /// The pieces' bytes are copied here by all threads, and from then on the pieces are of the copies, which
    /// stay until the next call. Throws CheckpointError when there is no room for them.
    void take(std::span<RankPiece> pieces);

  private:
    /// What each thread touches first, and copies.
    std::size_t begin_of(int thread) const;

    std::size_t size_;
    int threads_;
    struct Release {
        void operator()(std::byte* memory) const { HostMemory().release(memory); }
    };
    std::unique_ptr<std::byte[], Release> memory_;  // as a stream's pool has it
};

/// Of all pieces.
std::size_t bytes_of_pieces(std::span<const RankPiece> pieces);

}  // namespace skein
