#include "model/tensor/tensor.h"

#include "model/base/error.h"
#include "model/tensor/memory.h"

namespace skein {
namespace {

void check_bytes(const Tensor& tensor, std::span<const std::byte> bytes) {
    if (bytes.size() != tensor.bytes())
        throw ShapeError(text("tensor: ", bytes.size(), " bytes given for ", name_of(tensor.dtype()),
                              tensor.shape(), ", wanted ", tensor.bytes()));
}

}  // namespace

Tensor Tensor::in_pool(Pool& pool, DType dtype, const Shape& shape) {
    Tensor tensor;
    tensor.dtype_ = dtype;
    tensor.shape_ = shape;
    tensor.storage_ = pool.allocate(static_cast<std::size_t>(shape.elements()) * size_of(dtype));
    return tensor;
}

Tensor Tensor::empty(Stream& stream, DType dtype, const Shape& shape) {
    return in_pool(stream.pool(), dtype, shape);
}

Tensor Tensor::zeros(Stream& stream, DType dtype, const Shape& shape) {
    Tensor tensor = empty(stream, dtype, shape);
    stream.run(zero_work(tensor.bytes()), [&](auto& s) { zero_memory(s, tensor.raw(), tensor.bytes()); });
    return tensor;
}

Tensor Tensor::from_bytes(Stream& stream, DType dtype, const Shape& shape, std::span<const std::byte> bytes) {
    Tensor tensor = in_pool(stream.input_pool(), dtype, shape);
    check_bytes(tensor, bytes);
    stream.run([&](auto& s) { upload_input(s, bytes.data(), tensor.raw(), bytes.size()); });
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

void Tensor::check_on_host() const {
    if (device() != Device::cpu) throw ShapeError("tensor: its elements lie on a GPU, read by the host");
    if (storage_ && !storage_.get()->pool->is_real())
        throw ShapeError("tensor: its elements were only planned, read by the host");
}

Tensor start_on_host(Stream& stream, const Tensor& tensor) {
    if (tensor.device() == Device::cpu) return tensor;
    const Tensor copy = Tensor::in_pool(stream.host_pool(), tensor.dtype(), tensor.shape());
    stream.run([&](auto& s) { start_download(s, tensor.raw(), copy.raw(), tensor.bytes()); });
    return copy;
}

Tensor on_host(Stream& stream, const Tensor& tensor) {
    const Tensor copy = start_on_host(stream, tensor);
    stream.synchronize();
    return copy;
}

void assign_bytes(Stream& stream, const Tensor& tensor, std::span<const std::byte> bytes) {
    check_bytes(tensor, bytes);
    stream.run([&](auto& s) { upload(s, bytes.data(), tensor.raw(), bytes.size()); });
}

void check_shape(const char* operation, const char* name, const Shape& found, const Shape& wanted) {
    if (found != wanted) throw ShapeError(text(operation, ": ", name, " is ", found, ", wanted ", wanted));
}

}  // namespace skein
