#pragma once

#include <cstddef>
#include <cstdint>

#include "model/tensor/dtype.h"
#include "model/tensor/float16.h"

namespace skein {

/// What a kernel reads that may be fp32, bf16 or fp16: where the first element lies, and what it is. Operands
/// that are fp32 whatever the precision (statistics, biases, gains, gradients of parameters) are a float*.
struct ConstOperand {
    const void* data = nullptr;
    DType dtype = DType::f32;

    constexpr ConstOperand() = default;
    constexpr ConstOperand(const void* first, DType type) : data(first), dtype(type) {}
    constexpr ConstOperand(std::nullptr_t) {}
    constexpr ConstOperand(const float* first) : data(first) {}
    constexpr ConstOperand(const Bf16* first) : data(first), dtype(DType::bf16) {}
    constexpr ConstOperand(const F16* first) : data(first), dtype(DType::f16) {}

    explicit constexpr operator bool() const { return data != nullptr; }
    constexpr bool is_f32() const { return dtype == DType::f32; }
    /// For kernels that have made sure of it.
    const float* f32() const { return static_cast<const float*>(data); }
};

/// What a kernel writes, or reads and writes.
struct Operand {
    void* data = nullptr;
    DType dtype = DType::f32;

    constexpr Operand() = default;
    constexpr Operand(void* first, DType type) : data(first), dtype(type) {}
    constexpr Operand(std::nullptr_t) {}
    constexpr Operand(float* first) : data(first) {}
    constexpr Operand(Bf16* first) : data(first), dtype(DType::bf16) {}
    constexpr Operand(F16* first) : data(first), dtype(DType::f16) {}

    explicit constexpr operator bool() const { return data != nullptr; }
    constexpr operator ConstOperand() const { return {data, dtype}; }
    constexpr bool is_f32() const { return dtype == DType::f32; }
    float* f32() const { return static_cast<float*>(data); }
};

/// The operand that starts `elements` further on.
inline ConstOperand operator+(ConstOperand from, std::int64_t elements) {
    const auto bytes = elements * static_cast<std::int64_t>(size_of(from.dtype));
    return {static_cast<const std::byte*>(from.data) + bytes, from.dtype};
}
inline Operand operator+(Operand from, std::int64_t elements) {
    const auto bytes = elements * static_cast<std::int64_t>(size_of(from.dtype));
    return {static_cast<std::byte*>(from.data) + bytes, from.dtype};
}

}  // namespace skein
