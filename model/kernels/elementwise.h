#pragma once

#include <cstdint>

#include "model/tensor/stream.h"

namespace skein::kernels {

/// target (+)= source, elementwise.
void copy_or_add(CpuStream& stream, const float* source, float* target, std::int64_t count, bool accumulate);

}  // namespace skein::kernels
