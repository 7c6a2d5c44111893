#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/autograd/tape.h"
#include "model/kernels/initial_values.h"
#include "model/tensor/layout.h"

namespace skein {

/// How a parameter starts. Values are a function of seed, the parameter's number and the *global* index of
/// the element, so that a rank can make any slice.
struct InitialValues {
    using Kind = kernels::InitialKind;
    Kind kind = Kind::kZeros;
    /// Standard deviation of kNormal; half-width of kUniform.
    double scale = 0.0;

    static InitialValues zeros() { return {}; }
    static InitialValues ones() { return {Kind::kOnes, 0.0}; }
    static InitialValues normal(double deviation) { return {Kind::kNormal, deviation}; }
    /// Uniform in ±sqrt(6 / (fan_in + fan_out)). Glorot and Bengio, 2010.
    static InitialValues xavier_uniform(std::int64_t fan_in, std::int64_t fan_out);
};

/// Matrices and tables decay, and have copies in 16 bits where forward computes in them; vectors (biases,
/// norms) do neither.
enum class ParameterKind { kMatrix, kVector };

/// A named trainable tensor.
struct Parameter {
    std::string name;          ///< dotted path, unique in its model: "decoder.0.attention.qkv.weight"
    std::uint32_t number = 0;  ///< position in its list: keys its initial values
    Shape global_shape;
    Layout layout;
    ParameterKind kind = ParameterKind::kMatrix;
    bool decays() const { return kind == ParameterKind::kMatrix; }
    Leaf leaf;  ///< its tensors have shape()

    /// Of this rank's part.
    Shape shape() const { return layout.local(global_shape); }
};

/// A model's parameters in the order of their creation, which is the order of use in forward. Addresses are
/// stable.
class ParameterList {
  public:
    /// Makes a parameter on the stream and fills in its initial values for `seed`. Its kind, unless given, is
    /// that of its rank: a vector has one axis.
    Parameter& add(Stream& stream, std::uint64_t seed, std::string name, const Shape& global_shape,
                   InitialValues initial, Layout layout = Layout::replicated(),
                   std::optional<ParameterKind> kind = {});

    /// From now on forward and backward read the matrices in `dtype`, bf16 or f16, from copies beside the
    /// values; vectors stay f32. With f32 nothing is copied.
    void keep_copies(Stream& stream, DType dtype);
    /// The copies become the values, rounded: to be called when values were changed by anyone but the
    /// optimizer.
    void refresh_copies(Stream& stream);
    /// What forward computes in.
    DType forward_dtype() const { return forward_dtype_; }

    std::size_t size() const { return parameters_.size(); }
    Parameter& operator[](std::size_t i) { return *parameters_[i]; }
    const Parameter& operator[](std::size_t i) const { return *parameters_[i]; }
    /// Local elements in all.
    std::int64_t elements() const;

  private:
    std::vector<std::unique_ptr<Parameter>> parameters_;
    DType forward_dtype_ = DType::f32;
};

}  // namespace skein
