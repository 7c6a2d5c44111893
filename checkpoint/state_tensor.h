#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/box.h"
#include "model/tensor/dtype.h"
#include "model/tensor/layout.h"
#include "model/tensor/shape.h"

namespace skein {

/// Tensors of the model itself have names that begin so: "parameters/decoder.0.attention.qkv.weight". What
/// else the run needs goes under other names: "moment1/NAME", "moment2/NAME", "master/NAME".
inline constexpr std::string_view kParametersPrefix = "parameters/";

/// A named tensor of a run as one rank holds it: saved from, or loaded into. Every rank lists the same
/// tensors in the same order; ranks that hold the same box of one hold the same bytes.
struct StateTensor {
    struct Part {
        Box box;                     ///< of the whole tensor
        std::span<std::byte> bytes;  ///< row-major; borrowed, on the host
    };

    std::string name;
    DType dtype = DType::f32;
    Shape global_shape;
    std::vector<Part> parts;  ///< what this rank holds of it; they do not overlap. May be none

    /// Of what this layout leaves to this rank, the elements [begin, end) in its row-major order, which are
    /// `bytes`. They become one part or several.
    void add_run(const Layout& layout, std::int64_t begin, std::int64_t end, std::span<std::byte> bytes);
    /// All of it.
    void add(const Layout& layout, std::span<std::byte> bytes);
};

/// What is wrong with the tensor's parts; empty when nothing is.
std::string fault_of_parts(const StateTensor& tensor);

}  // namespace skein
