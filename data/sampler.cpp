#include "data/sampler.h"

#include <algorithm>
#include <bit>

#include "model/base/error.h"

namespace skein {
namespace {

constexpr std::uint32_t kRounds = 6;

/// Row `row` of `batch` from the tokens at `start`; `window` has room for context + 1.
void read_row(const TokenStream& stream, std::uint64_t start, std::uint64_t row,
              std::vector<std::int32_t>& window, TokenBatch& batch) {
    stream.read(start, window);
    const auto at = static_cast<std::ptrdiff_t>(row * batch.context);
    std::copy(window.begin(), window.end() - 1, batch.inputs.begin() + at);
    std::copy(window.begin() + 1, window.end(), batch.targets.begin() + at);
}

TokenBatch empty_batch(std::uint64_t context, std::uint64_t first, std::uint64_t count) {
    TokenBatch batch;
    batch.context = context;
    batch.inputs.resize(count * context);
    batch.targets.resize(count * context);
    for (std::uint64_t i = 0; i < count; ++i) batch.ordinals.push_back(first + i);
    return batch;
}

}  // namespace

KeyedPermutation::KeyedPermutation(std::uint64_t size, PhiloxKey key)
    : size_(size),
      half_bits_(std::max(1u, static_cast<unsigned>(std::bit_width(size - 1) + 1) / 2)),
      key_(key) {}

std::uint64_t KeyedPermutation::at(std::uint64_t index) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
    do {
        std::uint64_t left = index >> half_bits_, right = index & mask;
        for (std::uint32_t round = 0; round < kRounds; ++round) {
            const std::uint64_t mixed =
                left ^ (philox({static_cast<std::uint32_t>(right), round, 0, 0}, key_)[0] & mask);
            left = right;
            right = mixed;
        }
        index = left << half_bits_ | right;
    } while (index >= size_);
    return index;
}

StreamSampler::StreamSampler(std::uint64_t tokens, std::uint64_t context, std::uint64_t seed)
    : context_(context), seed_(seed), windows_(0) {
    if (context == 0) throw ConfigError("model.context: found 0, wanted at least 1");
    if (tokens / context < 2)
        throw DataError(text("samples: found ", tokens, " training tokens, wanted at least ", 2 * context,
                             " for a context of ", context));
    windows_ = tokens / context - 1;
}

std::uint64_t StreamSampler::offset(std::uint64_t epoch) const {
    const PhiloxBlock block = philox_at(0, philox_key(seed_, RandomPurpose::kEpochOffset, epoch, 0));
    const std::uint64_t word = std::uint64_t{block[0]} << 32 | block[1];
    return static_cast<std::uint64_t>(static_cast<unsigned __int128>(word) * context_ >> 64);
}

std::uint64_t StreamSampler::start(std::uint64_t sample) const {
    const Cursor place = cursor(sample);
    const KeyedPermutation order(windows_, philox_key(seed_, RandomPurpose::kSampleOrder, place.epoch, 0));
    return offset(place.epoch) + order.at(place.window) * context_;
}

TokenBatch read_samples(const TokenStream& stream, const StreamSampler& sampler, std::uint64_t first,
                        std::uint64_t count) {
    TokenBatch batch = empty_batch(sampler.context(), first, count);
    std::vector<std::int32_t> window(sampler.context() + 1);
    for (std::uint64_t row = 0; row < count; ++row)
        read_row(stream, sampler.start(first + row), row, window, batch);
    return batch;
}

std::uint64_t validation_windows(std::uint64_t tokens, std::uint64_t context) {
    return tokens == 0 || context == 0 ? 0 : (tokens - 1) / context;
}

TokenBatch read_validation(const TokenStream& stream, std::uint64_t context, std::uint64_t first,
                           std::uint64_t count) {
    TokenBatch batch = empty_batch(context, first, count);
    std::vector<std::int32_t> window(context + 1);
    for (std::uint64_t row = 0; row < count; ++row)
        read_row(stream, (first + row) * context, row, window, batch);
    return batch;
}

}  // namespace skein
