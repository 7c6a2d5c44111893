#pragma once

#include <span>
#include <string>

#include "checkpoint/manifest.h"
#include "model/tensor/dtype.h"
#include "model/tensor/shape.h"

namespace skein {

/// What a whole tensor is, in short.
struct TensorDigest {
    std::string name;
    DType dtype = DType::f32;
    Shape shape;
    std::string hash;  ///< hash_hex of all its bytes, row-major
};

/// hash_hex of one line for each tensor whose name begins with "parameters/", in bytewise order of names:
///
///     NAME \t DTYPE \t E0,E1,... \t HASH \n       (no spaces; no extents for a scalar)
///
/// NAME is without "parameters/". A function of the parameters alone, the same under every layout.
std::string parameters_hash(std::span<const TensorDigest> tensors);

/// hash_hex of the same lines for all other tensors, their names in full, then of
///
///     updates \t UPDATES \n
///     place \t EPOCH \t WINDOW \t SAMPLES \n
///     loss_scale \t SCALE \t GOOD_STEPS \t OVERFLOWS \n        (SCALE as printf("%a") gives it)
///
/// So it holds moments, loss scale, update count and place in the data, and neither best metric, patience,
/// clocks nor restarts.
std::string state_hash(std::span<const TensorDigest> tensors, const RunState& run);

}  // namespace skein
