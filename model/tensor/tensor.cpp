#include "model/tensor/tensor.h"

#include <cstring>

#include "model/base/error.h"

namespace skein {

Tensor Tensor::empty(Stream& stream, DType dtype, const Shape& shape) {
    Tensor tensor;
    tensor.dtype_ = dtype;
    tensor.shape_ = shape;
    tensor.storage_ = stream.pool().allocate(static_cast<std::size_t>(shape.elements()) * size_of(dtype));
    return tensor;
}

Tensor Tensor::zeros(Stream& stream, DType dtype, const Shape& shape) {
    Tensor tensor = empty(stream, dtype, shape);
    std::memset(tensor.raw(), 0, tensor.bytes());
    return tensor;
}

Tensor Tensor::from_bytes(Stream& stream, DType dtype, const Shape& shape, std::span<const std::byte> bytes) {
    Tensor tensor = empty(stream, dtype, shape);
    if (bytes.size() != tensor.bytes())
        throw ShapeError(text("tensor: ", bytes.size(), " bytes given for ", name_of(dtype), shape,
                              ", wanted ", tensor.bytes()));
    std::memcpy(tensor.raw(), bytes.data(), bytes.size());
    return tensor;
}

Operand Tensor::operand() const {
    if (dtype_ != DType::bf16 && dtype_ != DType::f16) check_dtype(DType::f32);
    return {raw(), dtype_};
}

Tensor Tensor::reshape(const Shape& shape) const {
    if (shape.elements() != elements())
        throw ShapeError(text("reshape: from ", shape_, " to ", shape, ", wanted ", elements(), " elements"));
    Tensor tensor = *this;
    tensor.shape_ = shape;
    return tensor;
}

Tensor Tensor::view(std::int64_t begin, const Shape& shape) const {
    if (begin < 0 || begin + shape.elements() > elements())
        throw ShapeError(text("view: elements [", begin, ", ", begin + shape.elements(), ") of ", shape_));
    Tensor tensor = *this;
    tensor.shape_ = shape;
    tensor.offset_ += static_cast<std::size_t>(begin) * size_of(dtype_);
    return tensor;
}

void Tensor::check_dtype(DType wanted) const {
    if (dtype_ != wanted)
        throw ShapeError(text("tensor: dtype is ", name_of(dtype_), ", read as ", name_of(wanted)));
}

void check_shape(const char* operation, const char* name, const Shape& found, const Shape& wanted) {
    if (found != wanted) throw ShapeError(text(operation, ": ", name, " is ", found, ", wanted ", wanted));
}

}  // namespace skein
