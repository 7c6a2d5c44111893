#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace skein {

/// What all of skein's errors derive from. A message is one line that gives the operation, what was found and
/// what was wanted. Only `launch/` turns an exception into an exit code.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// Shapes, dtypes or layouts that do not fit an operation.
class ShapeError : public Error {
    using Error::Error;
};
/// An option that is unknown, out of range or contradicts another (exit 64).
class ConfigError : public Error {
    using Error::Error;
};
/// Data that is not what its format says (exit 65).
class DataError : public Error {
    using Error::Error;
};
/// An input that is not there (exit 66).
class MissingError : public Error {
    using Error::Error;
};
/// A checkpoint that is damaged or belongs to something else (exit 65).
class CheckpointError : public Error {
    using Error::Error;
};
/// The operating system refused a read, a write or a rename (exit 74).
class IoError : public Error {
    using Error::Error;
};
/// A rank or the connection between ranks failed (exit 71).
class MpiError : public Error {
    using Error::Error;
};
/// Ranks that must hold the same parameters do not: one of them cannot be trusted (exit 71).
class ReplicaError : public Error {
    using Error::Error;
};
/// The GPU, its driver or a library of CUDA's refused or failed (exit 71).
class CudaError : public Error {
    using Error::Error;
};

/// Concatenates its arguments as `operator<<` prints them.
template <class... Args>
std::string text(const Args&... args) {
    std::ostringstream out;
    (out << ... << args);
    return out.str();
}

/// "OPERATION PATH: strerror(errno)" as an IoError. Call before anything else can change errno.
[[noreturn]] void throw_errno(const std::string& operation, const std::string& path);

}  // namespace skein
