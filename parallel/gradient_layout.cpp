#include "parallel/gradient_layout.h"

#include <algorithm>

#include "model/kernels/elementwise.h"

namespace skein {
namespace {

constexpr std::int64_t kAlignment = GradientLayout::kAlignment;
// So that slices of whole blocks are of about the same length.
constexpr std::int64_t kBlocksOfARank = 4;

std::int64_t up_to_multiple(std::int64_t n, std::int64_t of) {
    return (n + of - 1) / of * of;
}

}  // namespace

GradientLayout::GradientLayout(std::span<const std::int64_t> counts, std::int64_t bucket_elements,
                               BucketCuts cuts) {
    const std::int64_t unit = cuts.on_blocks ? kernels::kNormBlock : kAlignment;
    std::int64_t most = std::max(up_to_multiple(bucket_elements, kAlignment), kAlignment);
    if (cuts.on_blocks) most = std::max(most, kBlocksOfARank * cuts.ranks * unit);
    slices.resize(counts.size());
    bool open = false;  // whether the last bucket takes more parameters
    for (std::size_t i = counts.size(); i-- > 0;) {
        order.push_back(i);
        Slice& slice = slices[i];
        slice.begin = elements;
        slice.count = counts[i];
        const std::int64_t width = up_to_multiple(slice.count, kAlignment);
        if (width == 0) continue;
        if (width > most) {
            const std::int64_t pieces = (width + most - 1) / most;
            const auto piece_begin = [&](std::int64_t piece) {
                return elements + std::min(width, up_to_multiple(width * piece / pieces, unit));
            };
            slice.first_bucket = static_cast<int>(buckets.size());
            for (std::int64_t piece = 0; piece < pieces; ++piece)
                buckets.push_back({piece_begin(piece), piece_begin(piece + 1), 1, {}});
            open = false;
        } else {
            if (!open || buckets.back().end - buckets.back().begin + width > most)
                buckets.push_back({elements, elements, 0, {}});
            slice.first_bucket = static_cast<int>(buckets.size()) - 1;
            buckets.back().end += width;
            ++buckets.back().parameters;
            open = true;
        }
        slice.last_bucket = static_cast<int>(buckets.size()) - 1;
        elements += width;
    }
    cut(cuts);
}

void GradientLayout::cut(const BucketCuts& cuts) {
    std::vector<std::int64_t> blocks;  // where one begins, and the end
    if (cuts.on_blocks) {
        for (const std::size_t i : order)
            for (std::int64_t at = 0; at < slices[i].count; at += kernels::kNormBlock)
                blocks.push_back(slices[i].begin + at);
        blocks.push_back(elements);
    }
    // Of the buckets so far, what the ranks before rank r have: what a cut was off by, the next makes up for.
    std::vector<std::int64_t> before(static_cast<std::size_t>(cuts.ranks));
    for (Bucket& bucket : buckets) {
        bucket.cuts.push_back(bucket.begin);
        for (int rank = 1; rank < cuts.ranks; ++rank) {
            std::int64_t& so_far = before[static_cast<std::size_t>(rank)];
            std::int64_t at =
                bucket.begin + (bucket.end - bucket.begin) * rank / cuts.ranks / kAlignment * kAlignment;
            if (cuts.on_blocks) {  // the nearest to it; the bucket's own ends are among them
                at = std::clamp(bucket.end * rank / cuts.ranks - so_far + bucket.begin, bucket.begin,
                                bucket.end);
                const auto after = std::ranges::lower_bound(blocks, at);
                at = after != blocks.begin() && at - *(after - 1) <= *after - at ? *(after - 1) : *after;
                at = std::max(at, bucket.cuts.back());
            }
            so_far += at - bucket.begin;
            bucket.cuts.push_back(at);
        }
        bucket.cuts.push_back(bucket.end);
    }
}

}  // namespace skein
