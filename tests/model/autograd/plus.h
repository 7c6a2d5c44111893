#pragma once

#include <vector>

#include "model/autograd/tape.h"
#include "tests/support/test_device.h"

namespace skein::test {

/// a + b in fp32, by way of the host, whose gradient goes to both as one shared tensor.
inline Var plus(const Var& a, const Var& b) {
    Stream& stream = a.tape().stream();
    std::vector<float> values = floats_of(stream, a.value());
    const std::vector<float> others = floats_of(stream, b.value());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += others[i];
    return a.tape().record(Tensor::from<float>(stream, a.shape(), values), {a, b},
                           [a_node = NodeRef(a), b_node = NodeRef(b)](Tape& tape, const Tensor& dy) {
                               if (tape.needs_gradient(a_node)) tape.pass_gradient(a_node, dy);
                               if (tape.needs_gradient(b_node)) tape.pass_gradient(b_node, dy);
                           });
}

}  // namespace skein::test
