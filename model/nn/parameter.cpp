#include "model/nn/parameter.h"

#include <cmath>
#include <utility>

#include "model/kernels/elementwise.h"

namespace skein {

InitialValues InitialValues::xavier_uniform(std::int64_t fan_in, std::int64_t fan_out) {
    return {Kind::kUniform, std::sqrt(6.0 / static_cast<double>(fan_in + fan_out))};
}

Parameter& ParameterList::add(Stream& stream, std::uint64_t seed, std::string name, const Shape& global_shape,
                              InitialValues initial, Layout layout, std::optional<ParameterKind> kind) {
    auto parameter = std::make_unique<Parameter>();
    parameter->name = std::move(name);
    parameter->number = static_cast<std::uint32_t>(parameters_.size());
    parameter->global_shape = global_shape;
    parameter->layout = layout;
    parameter->kind =
        kind.value_or(global_shape.rank() >= 2 ? ParameterKind::kMatrix : ParameterKind::kVector);

    const Shape local = layout.local(global_shape);
    Tensor value = Tensor::empty(stream, DType::f32, local);
    const PhiloxKey key = philox_key(seed, RandomPurpose::kInitialValues, 0, parameter->number);
    const auto fill = [&](std::int64_t first, std::int64_t count, float* values) {
        stream.run([&](auto& s) {
            kernels::fill_initial_values(s, {initial.kind, initial.scale, key, first, count, values});
        });
    };
    if (!layout.is_split()) {
        fill(0, local.elements(), value.data<float>());
    } else {
        // rows before the split axis, then the slice of it, then what lies inside one index of it
        std::int64_t outer = 1, inner = 1;
        for (int axis = 0; axis < layout.axis; ++axis) outer *= global_shape[axis];
        for (int axis = layout.axis + 1; axis < global_shape.rank(); ++axis) inner *= global_shape[axis];
        const std::int64_t run = local[layout.axis] * inner;
        for (std::int64_t row = 0; row < outer; ++row)
            fill((row * global_shape[layout.axis] + layout.begin(global_shape)) * inner, run,
                 value.data<float>() + row * run);
    }
    parameter->leaf.value = std::move(value);
    parameters_.push_back(std::move(parameter));
    return *parameters_.back();
}

void ParameterList::keep_copies(Stream& stream, DType dtype) {
    forward_dtype_ = dtype;
    for (const auto& parameter : parameters_) {
        Leaf& leaf = parameter->leaf;
        const bool copied = dtype != DType::f32 && parameter->kind == ParameterKind::kMatrix;
        leaf.copy = copied ? Tensor::empty(stream, dtype, parameter->shape()) : Tensor{};
    }
    refresh_copies(stream);
}

void ParameterList::refresh_copies(Stream& stream) {
    for (const auto& parameter : parameters_) {
        const Leaf& leaf = parameter->leaf;
        if (!leaf.copy) continue;
        stream.run([&](auto& s) {
            kernels::copy_or_add(s, leaf.value.operand(), leaf.copy.operand(), leaf.value.elements(), false);
        });
    }
}

std::int64_t ParameterList::elements() const {
    std::int64_t count = 0;
    for (const auto& parameter : parameters_) count += parameter->shape().elements();
    return count;
}

}  // namespace skein
