#pragma once

#include <optional>
#include <string>

#include "model/tensor/communicator.h"

namespace skein {

/// Why a rank cannot go on.
struct Failure {
    int code = 0;             ///< the exit code it asks for
    std::string message;      ///< one line
    int rank = 0;             ///< of the communicator; set by agree_on_failure
    bool everywhere = false;  ///< all ranks failed; set by agree_on_failure
};

/// Tells every rank whether any of them failed, so that all go on or all leave together with one line and one
/// code. Of several failures the lowest rank's is everyone's answer. Collective; throws MpiError.
std::optional<Failure> agree_on_failure(Communicator& communicator, const std::optional<Failure>& mine);

}  // namespace skein
