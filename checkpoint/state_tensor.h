#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "model/tensor/dtype.h"
#include "model/tensor/layout.h"
#include "model/tensor/shape.h"

namespace skein {

/// Tensors of the model itself have names that begin so: "parameters/decoder.0.attention.qkv.weight". What
/// else the run needs goes under other names: "moment1/NAME", "moment2/NAME", "master/NAME".
inline constexpr std::string_view kParametersPrefix = "parameters/";

/// A named tensor of a run as one rank holds it: saved from, or loaded into. Every rank lists the same
/// tensors in the same order; ranks that hold the same part of one hold the same bytes.
struct StateTensor {
    std::string name;
    DType dtype = DType::f32;
    Shape global_shape;
    Layout layout;               ///< what part of it this rank holds
    std::span<std::byte> bytes;  ///< layout.local(global_shape), row-major; borrowed, on the host
};

}  // namespace skein
