#pragma once

#include <variant>

#include "model/tensor/cpu_stream.h"

namespace skein {

/// The devices of this build: the CPU alone.
using DeviceStream = std::variant<CpuStream>;

}  // namespace skein
