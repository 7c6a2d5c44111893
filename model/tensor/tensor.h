#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "model/tensor/dtype.h"
#include "model/tensor/operand.h"
#include "model/tensor/pool.h"
#include "model/tensor/shape.h"
#include "model/tensor/stream.h"

namespace skein {

/// dtype, shape and shared storage; always contiguous, row-major. Copying a Tensor shares its storage, which
/// lies in the memory of its stream's device. The default one is empty: no storage, shape [0].
class Tensor {
  public:
    Tensor() = default;
    /// Uninitialized, from the stream's pool.
    static Tensor empty(Stream& stream, DType dtype, const Shape& shape);
    static Tensor zeros(Stream& stream, DType dtype, const Shape& shape);
    /// A copy of host values. Throws ShapeError when their number is not that of the shape.
    template <class T>
    static Tensor from(Stream& stream, const Shape& shape, std::span<const T> values) {
        return from_bytes(stream, DTypeOf<T>::value, shape, std::as_bytes(values));
    }
    static Tensor from_bytes(Stream& stream, DType dtype, const Shape& shape,
                             std::span<const std::byte> bytes);

    DType dtype() const { return dtype_; }
    const Shape& shape() const { return shape_; }
    std::int64_t elements() const { return storage_ ? shape_.elements() : 0; }
    std::size_t bytes() const { return static_cast<std::size_t>(elements()) * size_of(dtype_); }
    explicit operator bool() const { return static_cast<bool>(storage_); }
    /// Where its elements lie; the CPU for an empty one.
    Device device() const { return storage_ ? storage_.get()->pool->device() : Device::cpu; }
    /// Whether another Tensor uses the same storage.
    bool shared() const { return storage_ && storage_.get()->references.load(std::memory_order_acquire) > 1; }

    /// The first element, on the tensor's device. Throws ShapeError when T is not the tensor's dtype.
    template <class T>
    T* data() const {
        check_dtype(DTypeOf<T>::value);
        return reinterpret_cast<T*>(raw());
    }
    /// The elements, for the host. Throws ShapeError for another dtype, or when they lie on a GPU (see
    /// on_host) or on a stream that only plans.
    template <class T>
    std::span<T> span() const {
        check_on_host();
        return {data<T>(), static_cast<std::size_t>(elements())};
    }
    /// The elements for a kernel that takes several dtypes. Throws ShapeError unless they are f32, bf16 or
    /// f16.
    Operand operand() const;
    std::byte* raw() const { return storage_ ? storage_.get()->data + offset_ : nullptr; }
    /// Its bytes, for the host. Throws ShapeError when they lie on a GPU or on a stream that only plans.
    std::span<std::byte> raw_span() const {
        check_on_host();
        return {raw(), bytes()};
    }

    /// The same storage under another shape of as many elements. Throws ShapeError.
    Tensor reshape(const Shape& shape) const;
    /// Elements [begin, begin + shape.elements()) of the storage order, under `shape`; shares storage. Throws
    /// ShapeError.
    Tensor view(std::int64_t begin, const Shape& shape) const;

  private:
    friend Tensor start_on_host(Stream& stream, const Tensor& tensor);
    static Tensor in_pool(Pool& pool, DType dtype, const Shape& shape);
    void check_dtype(DType wanted) const;
    void check_on_host() const;

    BlockRef storage_;
    std::size_t offset_ = 0;  // bytes
    Shape shape_{0};
    DType dtype_ = DType::f32;
};

/// The tensor for the host to read: itself on the CPU; from a GPU a copy, when all that was queued before has
/// been done.
Tensor on_host(Stream& stream, const Tensor& tensor);
/// The same without waiting: what it gives may be read once an event that is recorded behind it is done.
Tensor start_on_host(Stream& stream, const Tensor& tensor);
/// The tensor's elements become `bytes`, as many. Throws ShapeError.
void assign_bytes(Stream& stream, const Tensor& tensor, std::span<const std::byte> bytes);

/// Throws ShapeError "OPERATION: NAME is FOUND, wanted WANTED" when they differ.
void check_shape(const char* operation, const char* name, const Shape& found, const Shape& wanted);

}  // namespace skein
