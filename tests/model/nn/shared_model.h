#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/nn/sharing.h"
#include "tests/model/nn/small_pair_model.h"

namespace skein::test {

/// Calls body(i in the part, i in the whole, elements) for each run of elements that a layout's part of a
/// tensor of shape `global` has side by side in both.
template <class Body>
void for_runs(const Layout& layout, const Shape& global, const Body& body) {
    if (!layout.is_split()) return body(0, 0, global.elements());
    std::int64_t outer = 1, inner = 1;
    for (int axis = 0; axis < layout.axis; ++axis) outer *= global[axis];
    for (int axis = layout.axis + 1; axis < global.rank(); ++axis) inner *= global[axis];
    const std::int64_t begin = layout.begin(global), run = (layout.end(global) - begin) * inner;
    for (std::int64_t row = 0; row < outer; ++row)
        body(row * run, (row * global[layout.axis] + begin) * inner, run);
}

inline std::vector<float> part_of(const Parameter& parameter, const std::vector<float>& whole) {
    std::vector<float> part(static_cast<std::size_t>(parameter.leaf.value.elements()));
    for_runs(parameter.layout, parameter.global_shape, [&](auto in_part, auto in_whole, auto count) {
        std::copy_n(whole.begin() + in_whole, count, part.begin() + in_part);
    });
    return part;
}

/// The values that a model of any sharing starts the test with: a function of the whole parameter.
inline std::vector<float> whole_values(const Parameter& parameter) {
    const bool gamma = parameter.name.find("norm.weight") != std::string::npos;
    return random_floats(parameter.global_shape.elements(), 1000 + parameter.number, 0.3f,
                         gamma ? 1.0f : 0.0f);
}

/// One rank's part of a model, with the same random values as the whole has.
template <class M>
struct SharedModel {
    std::unique_ptr<TensorGroup> group;
    Stream stream;
    M model;

    /// communicator: null for the whole model.
    SharedModel(const ModelConfig& config, Communicator* communicator, bool sequence,
                DType dtype = DType::f32)
        : group(communicator ? std::make_unique<TensorGroup>(*communicator) : nullptr),
          stream(test_gpu(), 1),
          model(stream, config, 42, TensorSharing{group.get(), sequence}) {
        ParameterList& parameters = model.parameters();
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            Leaf& leaf = parameters[i].leaf;
            assign(stream, leaf.value, part_of(parameters[i], whole_values(parameters[i])));
            leaf.gradient = filled(stream, leaf.value.shape(), 1e30f);  // stale: must be written over
        }
        parameters.keep_copies(stream, dtype);
    }

    /// Adds up the parts of gradients over the group, as the trainer does when they are final.
    void complete_gradients() {
        for (std::size_t i = 0; i < model.parameters().size(); ++i)
            if (const Leaf& leaf = model.parameters()[i].leaf; leaf.partial)
                group->all_reduce(stream, leaf.gradient);
    }
};

/// Puts what each rank has of the parameters together: by parameter, the whole. Replicas must be the same to
/// the last bit.
inline void put_together(Stream& stream, const ParameterList& parameters, NamedGradients& whole) {
    whole.resize(parameters.size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const Parameter& parameter = parameters[i];
        auto& [name, values] = whole[i];
        const bool first = values.empty();
        name = parameter.name;
        values.resize(static_cast<std::size_t>(parameter.global_shape.elements()));
        const std::vector<float> part = floats_of(stream, parameter.leaf.gradient);
        EXPECT_TRUE(parameter.leaf.accumulate) << name << " has no gradient";
        for_runs(parameter.layout, parameter.global_shape, [&](auto in_part, auto in_whole, auto count) {
            for (std::int64_t k = 0; k < count; ++k) {
                const float value = part[static_cast<std::size_t>(in_part + k)];
                float& at = values[static_cast<std::size_t>(in_whole + k)];
                if (!first && !parameter.layout.is_split()) {
                    EXPECT_EQ(value, at) << name << " parts";
                }
                at = value;
            }
        });
    }
}

}  // namespace skein::test
