#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/box.h"
#include "checkpoint/state_tensor.h"
#include "model/tensor/communicator.h"

namespace skein {

/// A part of a tensor, and the one rank that writes it.
struct SharePiece {
    std::size_t tensor = 0;  ///< index in the list
    Box box;                 ///< within the whole tensor; whole rows of a box that its rank holds
    int rank = 0;
    int place = 0;  ///< among those of the tensor that this rank writes
    friend bool operator==(const SharePiece&, const SharePiece&) = default;
};

/// Boxes of up to this many bytes are written whole by one rank.
inline constexpr std::uint64_t kWholeBytes = std::uint64_t{1} << 20;

/// Shares a list of tensors out to ranks, so that every element is written once. What the same ranks hold is
/// laid end to end and cut into as many stretches of equal bytes as there are such ranks; a cut through a box
/// of up to `whole` bytes moves to its nearer end, a cut through a larger one to the nearest row.
/// boxes[r][t] are those that rank r holds of tensor t. Throws CheckpointError when the ranks together do not
/// hold a tensor exactly. Ordered by tensor, then rank, then place.
std::vector<SharePiece> share_out(std::span<const StateTensor> tensors,
                                  const std::vector<std::vector<std::vector<Box>>>& boxes,
                                  std::uint64_t whole = kWholeBytes);

/// Collective: the ranks tell each other their boxes, and each gets the same list. Throws CheckpointError, on
/// all ranks, when they do not list the same tensors or one's bytes are not as long as its box says.
std::vector<SharePiece> agree_on_shares(Communicator& world, std::span<const StateTensor> tensors);

}  // namespace skein
