#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"

namespace skein {

/// Where a checkpoint is not what was written.
struct CheckpointFault {
    std::string file;          ///< in the checkpoint's folder
    std::string tensor;        ///< empty when no one tensor is meant, or nobody can tell which
    std::uint64_t offset = 0;  ///< in the file: of the tensor, or of the first block that is bad
    std::string what;

    /// "FILE: WHAT" or "FILE: TENSOR: WHAT", in one line.
    std::string line() const;
};

/// What is in a checkpoint, and whether every byte is as it was written.
struct CheckpointInspection {
    std::optional<Manifest> manifest;         ///< when it could be read
    std::vector<CheckpointFault> faults;      ///< none: every byte of every file verifies, and every tensor
    std::string parameters_hash, state_hash;  ///< see state_hash.h; empty when there are faults
};

/// Reads all of a checkpoint. A byte that is changed, a file that is missing, one that is there and should
/// not be, and a tensor that reads back otherwise than it was in memory are faults. Needs memory for the
/// largest tensor. Throws MissingError when there is no such folder.
CheckpointInspection inspect_checkpoint(const std::string& folder);

}  // namespace skein
