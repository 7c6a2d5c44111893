#pragma once

#include "model/base/error.h"
#include "model/tensor/dtype.h"
#include "model/tensor/float16.h"

namespace skein::kernels::cuda {

/// Calls body.operator()<T>() with the type that elements of `dtype` have. Throws ShapeError unless it is one
/// that operands may have.
template <class Body>
void for_element_type(DType dtype, const Body& body) {
    switch (dtype) {
        case DType::f32:
            return body.template operator()<float>();
        case DType::bf16:
            return body.template operator()<Bf16>();
        case DType::f16:
            return body.template operator()<F16>();
        default:
            throw ShapeError(text("kernel: an operand is ", name_of(dtype), ", wanted f32, bf16 or f16"));
    }
}

}  // namespace skein::kernels::cuda
