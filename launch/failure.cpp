#include "launch/failure.h"

#include <algorithm>
#include <filesystem>
#include <new>

#include "model/base/error.h"

namespace skein {

namespace {

template <class Type>
bool is(const std::exception& exception) {
    return dynamic_cast<const Type*>(&exception) != nullptr;
}

int exit_code(const std::exception& exception) {
    if (is<ConfigError>(exception)) return kExitUsage;
    if (is<DataError>(exception) || is<CheckpointError>(exception)) return kExitBadData;
    if (is<MissingError>(exception)) return kExitMissing;
    if (is<MpiError>(exception) || is<CudaError>(exception) || is<ReplicaError>(exception)) return kExitRank;
    if (is<IoError>(exception) || is<std::filesystem::filesystem_error>(exception)) return kExitInputOutput;
    return kExitInternal;
}

}  // namespace

Failure failure_of(const std::exception_ptr& exception) {
    Failure failure{kExitInternal, {}, 0};
    try {
        std::rethrow_exception(exception);
    } catch (const std::bad_alloc&) {
        failure.message = "out of memory";
    } catch (const std::exception& error) {
        failure = {exit_code(error), error.what(), 0};
    } catch (...) {
        failure.message = "an exception of unknown type";
    }
    std::replace(failure.message.begin(), failure.message.end(), '\n', ' ');
    return failure;
}

}  // namespace skein
