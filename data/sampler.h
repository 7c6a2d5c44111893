#pragma once

#include <cstdint>
#include <vector>

#include "data/token_shard.h"
#include "model/base/philox.h"

namespace skein {

/// A permutation of [0, size) given by a key: a Feistel network on Philox over the smallest even number of
/// bits that holds `size`, walked along its cycle until it is back inside (Black and Rogaway, "Ciphers with
/// Arbitrary Finite Domains", CT-RSA 2002). No state; at() takes O(1).
class KeyedPermutation {
  public:
    KeyedPermutation(std::uint64_t size, PhiloxKey key);
    /// `index` < size.
    std::uint64_t at(std::uint64_t index) const;

  private:
    std::uint64_t size_;
    unsigned half_bits_;
    PhiloxKey key_;
};

/// A place in the order of samples; the same as the number of samples consumed: epoch · windows_per_epoch +
/// window.
struct Cursor {
    std::uint64_t epoch = 0;
    /// Position in the epoch's order.
    std::uint64_t window = 0;
    friend bool operator==(Cursor, Cursor) = default;
};

/// The order in which training sees a stream of `tokens` tokens: an endless row of samples, numbered from 0,
/// each a window of `context` + 1 tokens. In an epoch windows stand side by side from an offset in [0,
/// context), keyed by seed and epoch, and come in an order keyed likewise. A pure function of (tokens,
/// context, seed): seeking is O(1), and batches may cross epochs.
class StreamSampler {
  public:
    /// Throws DataError when the stream is too short for one window at every offset: tokens < 2 · context.
    StreamSampler(std::uint64_t tokens, std::uint64_t context, std::uint64_t seed);

    std::uint64_t context() const { return context_; }
    /// floor(tokens / context) - 1, the same in every epoch.
    std::uint64_t windows_per_epoch() const { return windows_; }
    Cursor cursor(std::uint64_t sample) const { return {sample / windows_, sample % windows_}; }
    std::uint64_t sample(Cursor cursor) const { return cursor.epoch * windows_ + cursor.window; }
    /// The offset of an epoch's windows, in [0, context).
    std::uint64_t offset(std::uint64_t epoch) const;
    /// The first token of sample number `sample`: it takes [start, start + context].
    std::uint64_t start(std::uint64_t sample) const;

  private:
    std::uint64_t context_, seed_, windows_;
};

/// Samples of a batch, in order: row r of `targets` is row r of `inputs` one token further on.
struct TokenBatch {
    std::uint64_t context = 0;
    /// [samples, context], row-major.
    std::vector<std::int32_t> inputs, targets;
    /// [samples]: each sample's global number.
    std::vector<std::uint64_t> ordinals;

    std::uint64_t samples() const { return ordinals.size(); }
};

/// Samples [first, first + count) of training. A rank that has the part [lo, hi) of the global batch that
/// starts at sample s asks for first = s + lo, count = hi - lo; count may be 0. Throws DataError.
TokenBatch read_samples(const TokenStream& stream, const StreamSampler& sampler, std::uint64_t first,
                        std::uint64_t count);

/// Non-overlapping windows of validation from token 0 on, full ones only: floor((tokens - 1) / context).
std::uint64_t validation_windows(std::uint64_t tokens, std::uint64_t context);

/// Validation windows [first, first + count), in order; ordinals are the windows' numbers. Throws DataError.
TokenBatch read_validation(const TokenStream& stream, std::uint64_t context, std::uint64_t first,
                           std::uint64_t count);

}  // namespace skein
