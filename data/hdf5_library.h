#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "data/hdf5_file.h"
#include "model/base/handle.h"

namespace skein {

// What the sources of Hdf5File share, and nobody else includes: the library's lock, identifiers, errors and
// types.

/// Holds the process's one HDF5 mutex, which goes to those that wait for it in the order in which they came:
/// a thread that writes slice after slice does not keep out one that reads. Printing of errors is off for
/// each thread that comes by (the library keeps that setting per thread), and the library does nothing at
/// exit: a file that could not be closed would hang it there.
class LibraryLock {
  public:
    LibraryLock();
    LibraryLock(const LibraryLock&) = delete;
    LibraryLock& operator=(const LibraryLock&) = delete;
    ~LibraryLock();
};

struct Hdf5IdTraits {
    using Value = std::int64_t;  // hid_t
    static Value none() noexcept { return -1; }
    static void release(Value id) noexcept;
};
/// Any HDF5 identifier that is to be released where it goes out of scope, within a LibraryLock.
using Hid = Handle<Hdf5IdTraits>;

/// The innermost message of HDF5's error stack.
std::string library_error();

/// HDF5's names of a type in memory and on disk; within a LibraryLock.
std::int64_t memory_type(Hdf5Type type);
std::int64_t stored_type(Hdf5Type type);
/// None: a type that Hdf5Type has no name for.
std::optional<Hdf5Type> type_of_stored(std::int64_t type);

}  // namespace skein
