#include "model/tensor/dtype.h"

#include <array>
#include <utility>

#include "model/base/error.h"

namespace skein {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, 6> kNames{{{DType::f32, "f32"},
                                                                    {DType::f64, "f64"},
                                                                    {DType::bf16, "bf16"},
                                                                    {DType::f16, "f16"},
                                                                    {DType::i32, "i32"},
                                                                    {DType::i64, "i64"}}};

}  // namespace

std::string_view name_of(DType dtype) {
    for (const auto& [value, name] : kNames)
        if (value == dtype) return name;
    return "?";
}

DType dtype_from_name(std::string_view name) {
    for (const auto& [value, known] : kNames)
        if (known == name) return value;
    throw ShapeError(text("dtype: found '", name, "', wanted f32, f64, bf16, f16, i32 or i64"));
}

}  // namespace skein
