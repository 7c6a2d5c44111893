#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "model/tensor/tensor.h"

namespace skein {

class Tape;

/// A tensor whose gradient outlives the tape: what a parameter is to the autograd engine.
struct Leaf {
    Tensor value;
    /// What forward and backward read in place of the value, where not empty: the same in 16 bits. Whoever
    /// changes the value refreshes it. Where there is one, the owner may have dropped the value.
    Tensor copy;
    const Tensor& forward_value() const { return copy ? copy : value; }
    /// Where its gradient is summed: f32 of value's shape. Set by the owner before forward; it may be another
    /// one for each lane.
    Tensor gradient;
    /// Whether `gradient` already holds a sum to add to. The first write after the owner cleared it
    /// overwrites, so that no buffer has to be filled with zeros.
    bool accumulate = false;
    /// Whether `gradient` becomes this rank's part only, of which the tensor-parallel group's sum is the
    /// whole. To be added up by the owner when it is final.
    bool partial = false;
    /// Uses on tapes whose backward has not run yet. The gradient is final when it is back at zero.
    int pending_uses = 0;
};

/// A tensor recorded on a tape. Cheap to copy; holds the tensor's storage, so drop it when it is no longer
/// needed.
class Var {
  public:
    Var() = default;
    const Tensor& value() const { return value_; }
    const Shape& shape() const { return value_.shape(); }
    Tape& tape() const { return *tape_; }
    explicit operator bool() const { return tape_ != nullptr; }

  private:
    friend class Tape;
    friend class NodeRef;
    Tape* tape_ = nullptr;
    std::int32_t node_ = -1;
    Tensor value_;
};

/// Names a Var's node without holding its tensor: what a backward function captures to pass a gradient on.
class NodeRef {
  public:
    NodeRef() = default;
    NodeRef(const Var& var) : node_(var.node_) {}  // NOLINT: a Var is meant to convert

  private:
    friend class Tape;
    std::int32_t node_ = -1;
};

/// Where a backward function writes: `target` is overwritten, or added to when `accumulate`.
struct GradientSlot {
    Tensor target;
    bool accumulate = false;
};

/// The autograd engine: an append-only list of what forward did, walked backwards. There is no topological
/// sort: the order is the order of forward, so every rank issues the same collectives in the same order. What
/// an op saved is freed as soon as its backward has run. A tape serves one forward pass and one backward
/// pass.
///
/// An activation has the dtype of what it is computed from (an op's result that of its first operand), so a
/// model runs in the dtype of its parameters' copies; its gradient has the activation's dtype. Gradients of
/// leaves are f32.
class Tape {
  public:
    /// Receives the gradient of the op's value.
    using Backward = std::function<void(Tape&, const Tensor& gradient)>;

    enum class Mode {
        kRecord,
        kCountUses,  ///< nothing is kept for backward but the uses of leaves: what records comes later
        kInference
    };

    explicit Tape(Stream& stream, Mode mode = Mode::kRecord) : stream_(stream), mode_(mode) {}
    Tape(const Tape&) = delete;
    Tape& operator=(const Tape&) = delete;
    /// Forgets the uses of leaves whose backward has not run.
    ~Tape();

    Stream& stream() { return stream_; }
    bool records() const { return mode_ == Mode::kRecord; }
    /// Whether a backward pass will come, be it of this tape or of one that records the same again.
    bool trains() const { return mode_ != Mode::kInference; }

    /// Puts a leaf on the tape and counts the use. The leaf must outlive the tape.
    Var leaf(Leaf& leaf);
    /// A tensor that no gradient is wanted of.
    Var constant(Tensor value);
    /// A tensor whose gradient is wanted: after backward, gradient_of gives it.
    Var input(Tensor value);
    /// For ops: puts `value`, computed from `inputs` (at most six), on the tape. `backward` must send a
    /// gradient to each input that needs one; it is dropped unrun when none does or the tape only infers.
    Var record(Tensor value, std::initializer_list<Var> inputs, Backward backward);

    /// Whether a backward function must send a gradient to this node.
    bool needs_gradient(NodeRef node) const;
    /// The place for a gradient of the node's shape and dtype (a leaf's is f32), and whether something stands
    /// there already. Each call is one contribution: what is given out must be written.
    GradientSlot gradient_slot(NodeRef node);
    /// One contribution that exists as a tensor already: shared where it is the first and of the node's
    /// dtype, added otherwise. The tensor must not be written afterwards.
    void pass_gradient(NodeRef node, const Tensor& gradient);

    /// Walks back from `root`, whose own gradient is `seed` (empty for a loss whose op has put the gradient
    /// of its inputs into their slots already, in forward). Calls on_leaf_final and after_op on the way.
    /// Throws ShapeError when the tape only infers.
    void backward(const Var& root, const Tensor& seed = {});
    /// From several roots, each with its seed; one whose seed is empty is left out. Finishes the uses of all
    /// that is on the tape, whether a root reaches it or not.
    void backward(std::span<const Var> roots, std::span<const Tensor> seeds);
    /// Of an input; empty when nothing has reached it.
    const Tensor& gradient_of(const Var& input) const;

    /// Called when a leaf's last pending use has run backward, on any tape: its gradient is final.
    std::function<void(Leaf&)> on_leaf_final;
    /// Called after each op's backward: the place to poll communication.
    std::function<void()> after_op;

    /// What ops compute that is not exact even where all that they read is.
    enum class Inexact {
        kResult,         ///< of a norm, of attention, of an activation
        kMean,           ///< of a norm's rows
        kScale,          ///< their 1 / standard deviation
        kGradient,       ///< of what a norm, attention or an activation read
        kLogitGradient,  ///< of the logits
    };
    /// For tests of exactness: called with each such tensor before anything reads it, to round it in place.
    std::function<void(const Tensor&, Inexact)> on_inexact;
    void inexact(const Tensor& tensor, Inexact kind) const {
        if (on_inexact) on_inexact(tensor, kind);
    }

  private:
    struct Node {
        Backward backward;
        Tensor gradient;
        Shape shape;
        DType dtype = DType::f32;
        Leaf* leaf = nullptr;
        bool needs_gradient = false;
        bool is_input = false;  // its gradient is kept
        std::array<std::int32_t, 6> inputs{-1, -1, -1, -1, -1, -1};
    };

    void copy(const Tensor& from, const Tensor& to, bool accumulate);
    /// From the node before `end`. The loss is reached without a gradient.
    void walk_back(std::size_t end, std::int32_t loss);
    Var append(Node node, Tensor value);
    void finish_uses(Node& node);

    Stream& stream_;
    Mode mode_;
    std::vector<Node> nodes_;
};

}  // namespace skein
