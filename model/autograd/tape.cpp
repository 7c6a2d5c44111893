#include "model/autograd/tape.h"

#include <utility>

#include "model/base/error.h"
#include "model/kernels/work.h"

namespace skein {

Tape::~Tape() {
    for (Node& node : nodes_)
        for (const std::int32_t input : node.inputs)
            if (input >= 0 && nodes_[static_cast<std::size_t>(input)].leaf)
                --nodes_[static_cast<std::size_t>(input)].leaf->pending_uses;
}

Var Tape::append(Node node, Tensor value) {
    Var var;
    var.tape_ = this;
    if (trains()) {
        node.shape = value.shape();
        node.dtype = value.dtype();
        var.node_ = static_cast<std::int32_t>(nodes_.size());
        nodes_.push_back(std::move(node));
    }
    var.value_ = std::move(value);
    return var;
}

Var Tape::leaf(Leaf& leaf) {
    Node node;
    node.leaf = &leaf;
    node.needs_gradient = true;
    return append(std::move(node), leaf.forward_value());
}

Var Tape::constant(Tensor value) {
    return append({}, std::move(value));
}

Var Tape::input(Tensor value) {
    Node node;
    node.needs_gradient = node.is_input = true;
    return append(std::move(node), std::move(value));
}

Var Tape::record(Tensor value, std::initializer_list<Var> inputs, Backward backward) {
    Node node;
    if (trains()) {
        if (inputs.size() > node.inputs.size())
            throw ShapeError(
                text("tape: an op with ", inputs.size(), " inputs, at most ", node.inputs.size()));
        std::size_t at = 0;
        for (const Var& input : inputs) {
            if (!input) continue;
            Node& source = nodes_[static_cast<std::size_t>(input.node_)];
            node.inputs[at++] = input.node_;
            node.needs_gradient |= source.needs_gradient;
            if (source.leaf) ++source.leaf->pending_uses;
        }
        if (node.needs_gradient && records()) node.backward = std::move(backward);
    }
    return append(std::move(node), std::move(value));
}

bool Tape::needs_gradient(NodeRef node) const {
    return node.node_ >= 0 && nodes_[static_cast<std::size_t>(node.node_)].needs_gradient;
}

GradientSlot Tape::gradient_slot(NodeRef ref) {
    Node& node = nodes_[static_cast<std::size_t>(ref.node_)];
    if (node.leaf) return {node.leaf->gradient, std::exchange(node.leaf->accumulate, true)};
    if (node.gradient) {
        if (node.gradient.shared()) {  // passed on to another node as well, which has not read it yet
            Tensor own = Tensor::empty(stream_, node.dtype, node.shape);
            copy(node.gradient, own, false);
            node.gradient = std::move(own);
        }
        return {node.gradient, true};
    }
    node.gradient = Tensor::empty(stream_, node.dtype, node.shape);
    return {node.gradient, false};
}

void Tape::pass_gradient(NodeRef ref, const Tensor& gradient) {
    Node& node = nodes_[static_cast<std::size_t>(ref.node_)];
    check_shape("tape", "gradient", gradient.shape(), node.shape);
    if (!node.leaf && !node.gradient && gradient.dtype() == node.dtype) {
        node.gradient = gradient;
        return;
    }
    const GradientSlot slot = gradient_slot(ref);
    copy(gradient, slot.target, slot.accumulate);
}

void Tape::copy(const Tensor& from, const Tensor& to, bool accumulate) {
    stream_.run(
        kernels::copy_or_add_work(from.operand(), to.operand(), to.elements(), accumulate),
        [&](auto& s) { kernels::copy_or_add(s, from.operand(), to.operand(), to.elements(), accumulate); });
}

void Tape::finish_uses(Node& node) {
    for (std::int32_t& input : node.inputs) {
        if (input < 0) continue;
        Leaf* leaf = nodes_[static_cast<std::size_t>(std::exchange(input, -1))].leaf;
        if (leaf && --leaf->pending_uses == 0 && on_leaf_final) on_leaf_final(*leaf);
    }
}

void Tape::backward(const Var& root, const Tensor& seed) {
    if (!records()) throw ShapeError("tape: backward on a tape that does not record");
    if (seed) {
        check_shape("backward", "seed", seed.shape(), root.shape());
        nodes_[static_cast<std::size_t>(root.node_)].gradient = seed;
    }
    walk_back(static_cast<std::size_t>(root.node_) + 1, root.node_);
}

void Tape::backward(std::span<const Var> roots, std::span<const Tensor> seeds) {
    if (!records()) throw ShapeError("tape: backward on a tape that does not record");
    for (std::size_t i = 0; i < roots.size(); ++i)
        if (seeds[i]) pass_gradient(roots[i], seeds[i]);
    walk_back(nodes_.size(), -1);
}

const Tensor& Tape::gradient_of(const Var& input) const {
    return nodes_[static_cast<std::size_t>(input.node_)].gradient;
}

void Tape::walk_back(std::size_t end, std::int32_t loss) {
    for (std::size_t i = end; i-- > 0;) {
        Node& node = nodes_[i];
        if (node.leaf || node.is_input) continue;
        // The root of a loss has no gradient of its own; any other node without one was not part of the
        // result.
        const bool reached = node.gradient || static_cast<std::int32_t>(i) == loss;
        if (node.backward && reached) {
            const Tensor gradient = std::move(node.gradient);
            node.gradient = {};
            node.backward(*this, gradient);
        }
        node.backward = nullptr;
        finish_uses(node);
        if (after_op) after_op();
    }
}

}  // namespace skein
