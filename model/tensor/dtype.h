#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace skein {

/// Element types of tensors. bf16 and f16 are stored as their 16 bits.
enum class DType : std::uint8_t { f32, f64, bf16, f16, i32, i64 };

constexpr std::size_t size_of(DType dtype) {
    switch (dtype) {
        case DType::f64:
        case DType::i64:
            return 8;
        case DType::bf16:
        case DType::f16:
            return 2;
        default:
            return 4;
    }
}

/// "f32", "bf16", ...: the names that files use.
std::string_view name_of(DType dtype);
/// The inverse of name_of. Throws ShapeError for a name it does not know.
DType dtype_from_name(std::string_view name);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
    static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
    static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<std::int32_t> {
    static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<std::int64_t> {
    static constexpr DType value = DType::i64;
};

}  // namespace skein
