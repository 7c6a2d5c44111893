#include "model/autograd/ops/recompute.h"

#include <memory>
#include <utility>

#include "model/base/error.h"

namespace skein {
namespace {

constexpr std::size_t kMostInputs = 3;

}  // namespace

std::vector<Var> recompute(Tape& tape, const std::vector<Var>& inputs, TapeFunction function) {
    if (!tape.records()) return function(tape, inputs);
    if (inputs.empty() || inputs.size() > kMostInputs)
        throw ShapeError(text("recompute: ", inputs.size(), " inputs, wanted 1 to ", kMostInputs));
    // The uses of leaves count from now on, so that none is final before its use in backward.
    const auto counted = std::make_shared<std::unique_ptr<Tape>>(
        std::make_unique<Tape>(tape.stream(), Tape::Mode::kCountUses));
    (*counted)->on_inexact = tape.on_inexact;
    std::vector<Tensor> values;
    std::vector<Var> first_inputs;
    for (const Var& input : inputs) {
        values.push_back(input.value());
        first_inputs.push_back((*counted)->constant(input.value()));
    }
    std::vector<Tensor> results;
    for (const Var& output : function(**counted, first_inputs)) results.push_back(output.value());
    first_inputs.clear();

    std::array<Var, kMostInputs> all;
    std::array<NodeRef, kMostInputs> nodes;
    bool needed = false;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        all[i] = inputs[i];
        nodes[i] = NodeRef(inputs[i]);
        needed |= tape.needs_gradient(nodes[i]);
    }
    if (!needed) throw ShapeError("recompute: no input needs a gradient");
    const auto gradients = std::make_shared<std::vector<Tensor>>(results.size());  // of the outputs
    const Tensor token = Tensor::zeros(tape.stream(), DType::f32, {1});
    const Var group = tape.record(token, {all[0], all[1], all[2]},
                                  [function = std::move(function), values = std::move(values), nodes, counted,
                                   gradients](Tape& t, const Tensor&) {
                                      Tape again(t.stream());
                                      again.on_leaf_final = t.on_leaf_final;
                                      again.after_op = t.after_op;
                                      again.on_inexact = t.on_inexact;
                                      std::vector<Var> again_inputs;
                                      for (const Tensor& value : values)
                                          again_inputs.push_back(again.input(value));
                                      const std::vector<Var> outputs = function(again, again_inputs);
                                      counted->reset();
                                      again.backward(outputs, *gradients);
                                      gradients->clear();
                                      for (std::size_t i = 0; i < values.size(); ++i)
                                          if (const Tensor& gradient = again.gradient_of(again_inputs[i]);
                                              gradient && t.needs_gradient(nodes[i]))
                                              t.pass_gradient(nodes[i], gradient);
                                  });
    // It runs even if no output is used, so that the uses of its leaves come to an end.
    tape.pass_gradient(group, token);
    std::vector<Var> outputs;
    for (std::size_t i = 0; i < results.size(); ++i)
        outputs.push_back(tape.record(results[i], {group}, [i, gradients](Tape&, const Tensor& gradient) {
            (*gradients)[i] = gradient;
        }));
    return outputs;
}

Var as_one_use(const Var& x) {
    return x.tape().record(x.value(), {x}, [x_node = NodeRef(x)](Tape& t, const Tensor& dy) {
        if (t.needs_gradient(x_node)) t.pass_gradient(x_node, dy);
    });
}

}  // namespace skein
