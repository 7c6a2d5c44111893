#pragma once

#include <cstdint>

#include "model/base/philox.h"
#include "model/kernels/dropout.h"
#include "model/kernels/elementwise.h"
#include "model/tensor/tensor.h"

namespace skein {

/// What backward computes again, so that forward need not keep it.
enum class Recompute {
    kNone,
    kAttention,  ///< attention sublayers, from their inputs
    kBlock       ///< whole layers
};

/// What one forward pass knows of its place in the run: everything that its random numbers are a function of.
struct PassContext {
    std::uint64_t seed = 0;
    std::uint64_t step = 0;
    std::int64_t first_sample = 0;  ///< index of the pass's first sample in the global batch
    bool training = false;          ///< dropout is on
    Recompute recompute = Recompute::kNone;
};

/// A place in the model where activations are dropped. `place` is its number in the order of construction.
struct DropoutSite {
    double probability = 0.0;
    std::uint32_t place = 0;

    kernels::Dropout at(const PassContext& pass) const {
        if (!pass.training || probability <= 0.0) return {};
        return kernels::make_dropout(probability,
                                     philox_key(pass.seed, RandomPurpose::kDropout, pass.step, place));
    }
};

/// The token sequences of one pass, padded to one length. ids and targets: i32 [samples, length]; a negative
/// target is padding.
struct TokenPass {
    Tensor ids, targets;
    std::int64_t samples() const { return ids.shape()[0]; }
    std::int64_t length() const { return ids.shape()[1]; }
};

/// Source and target sequences of one pass, each side padded to its own length. source: i32 [samples, source
/// length]; inputs (the target behind its begin token) and targets: i32 [samples, target length]; the
/// lengths: i32 [samples], of which 0 is one. Ids of padding are read as well, so they must be in the
/// vocabulary; targets of padding are negative.
struct PairPass {
    Tensor source, inputs, targets;
    Tensor source_lengths, target_lengths;
    std::int64_t samples() const { return source.shape()[0]; }
    std::int64_t source_length() const { return source.shape()[1]; }
    std::int64_t target_length() const { return inputs.shape()[1]; }
};

}  // namespace skein
