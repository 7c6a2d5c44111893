#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"

namespace skein {

/// A tensor whose bytes in a file are not what they were.
struct DamagedTensor {
    std::string name;
    std::uint64_t begin = 0, end = 0;  ///< where they are in the file
};

/// Which tensors of a checkpoint a file that does not verify has damaged, by the hash of each piece; none
/// where HDF5 cannot tell, or what is damaged is no tensor's. HDF5 may crash or hang on such a file, so that
/// a child process reads it: to be called where there is one thread. Needs memory for the file's largest
/// piece.
std::vector<DamagedTensor> damaged_tensors(const std::string& folder, const Manifest& manifest,
                                           const std::string& file);

}  // namespace skein
