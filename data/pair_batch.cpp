#include "data/pair_batch.h"

#include <algorithm>

#include "data/tokenizer.h"
#include "model/base/error.h"

namespace skein {
namespace {

constexpr std::int32_t kNoTarget = -1;

/// The ids that were planned: all of them, or what truncation leaves.
std::span<const std::int32_t> planned(const std::vector<std::int32_t>& ids, std::uint32_t length,
                                      std::uint64_t pair) {
    if (ids.size() + kSpecialTokens < length)
        throw DataError(text("pairs: a side of pair ", pair, " has ", ids.size(), " tokens, ",
                             length - kSpecialTokens, " were planned"));
    return std::span(ids).first(length - kSpecialTokens);
}

void append(std::vector<std::int32_t>& out, std::span<const std::int32_t> ids) {
    out.insert(out.end(), ids.begin(), ids.end());
}

std::uint64_t longest(const std::vector<std::uint64_t>& offsets, std::uint64_t begin, std::uint64_t end) {
    std::uint64_t most = 0;
    for (std::uint64_t i = begin; i < end; ++i) most = std::max(most, offsets[i + 1] - offsets[i]);
    return most;
}

std::vector<std::int32_t> lengths_of(const std::vector<std::uint64_t>& offsets, std::uint64_t begin,
                                     std::uint64_t end) {
    std::vector<std::int32_t> out;
    for (std::uint64_t i = begin; i < end; ++i)
        out.push_back(static_cast<std::int32_t>(offsets[i + 1] - offsets[i]));
    return out;
}

/// [end - begin, width]
std::vector<std::int32_t> padded(const std::vector<std::int32_t>& ids,
                                 const std::vector<std::uint64_t>& offsets, std::uint64_t begin,
                                 std::uint64_t end, std::uint64_t width, std::int32_t padding) {
    std::vector<std::int32_t> out((end - begin) * width, padding);
    for (std::uint64_t i = begin; i < end; ++i)
        std::copy(ids.begin() + static_cast<std::ptrdiff_t>(offsets[i]),
                  ids.begin() + static_cast<std::ptrdiff_t>(offsets[i + 1]),
                  out.begin() + static_cast<std::ptrdiff_t>((i - begin) * width));
    return out;
}

}  // namespace

PairBatch read_pairs(const PairStream& stream, const PairPlan& plan, std::uint64_t begin, std::uint64_t end) {
    if (begin > end || end > plan.samples())
        throw DataError(text("pairs: read samples ", begin, " to ", end, " of a batch of ", plan.samples()));
    PairBatch out;
    out.place = plan.place;
    out.batch_samples = plan.samples();
    out.batch_target_tokens = plan.target_tokens();
    out.first_sample = plan.first_sample + begin;
    std::vector<std::int32_t> source, target;
    for (std::uint64_t i = begin; i < end; ++i) {
        source.clear();
        target.clear();
        stream.read(plan.pairs[i], source, target);
        append(out.source, planned(source, plan.lengths[i].source, plan.pairs[i]));
        out.source.push_back(SentencePieceIds::kEnd);
        const auto ids = planned(target, plan.lengths[i].target, plan.pairs[i]);
        out.inputs.push_back(SentencePieceIds::kBegin);
        append(out.inputs, ids);
        append(out.targets, ids);
        out.targets.push_back(SentencePieceIds::kEnd);
        out.source_offsets.push_back(out.source.size());
        out.target_offsets.push_back(out.targets.size());
    }
    return out;
}

PaddedPairs pad_pairs(const PairBatch& batch, std::uint64_t begin, std::uint64_t end) {
    PaddedPairs out;
    out.samples = end - begin;
    out.source_length = longest(batch.source_offsets, begin, end);
    out.target_length = longest(batch.target_offsets, begin, end);
    out.source =
        padded(batch.source, batch.source_offsets, begin, end, out.source_length, SentencePieceIds::kPadding);
    out.inputs =
        padded(batch.inputs, batch.target_offsets, begin, end, out.target_length, SentencePieceIds::kPadding);
    out.targets = padded(batch.targets, batch.target_offsets, begin, end, out.target_length, kNoTarget);
    out.source_lengths = lengths_of(batch.source_offsets, begin, end);
    out.target_lengths = lengths_of(batch.target_offsets, begin, end);
    return out;
}

}  // namespace skein
