#include "trainer/batch.h"

#include <algorithm>

namespace skein {
namespace {

std::int64_t length_of(const TokenBatch& batch, std::size_t) {
    return static_cast<std::int64_t>(batch.context);
}

std::int64_t length_of(const PairBatch& batch, std::size_t sample) {
    const auto side = [&](const std::vector<std::uint64_t>& offsets) {
        return offsets[sample + 1] - offsets[sample];
    };
    return static_cast<std::int64_t>(std::max(side(batch.source_offsets), side(batch.target_offsets)));
}

}  // namespace

std::int64_t Batch::length(std::int64_t sample) const {
    return std::visit(
        [&](const auto& held) { return length_of(held, static_cast<std::size_t>(sample - own.begin)); },
        part);
}

SampleRange next_pass(const Batch& batch, std::int64_t begin, std::int64_t end, std::int64_t most_samples,
                      std::int64_t most_tokens) {
    SampleRange pass{begin, begin};
    for (std::int64_t longest = 0; pass.end < end; ++pass.end) {
        longest = std::max(longest, batch.length(pass.end));
        const std::int64_t count = pass.end - begin + 1;
        if (count > 1 && most_samples > 0 && count > most_samples) break;
        if (count > 1 && most_tokens > 0 && count * longest > most_tokens) break;
    }
    return pass;
}

}  // namespace skein
