#include "parallel/gradient_layout.h"

#include <algorithm>

namespace skein {
namespace {

constexpr std::int64_t kAlignment = GradientLayout::kAlignment;

std::int64_t align_up(std::int64_t n) {
    return (n + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

GradientLayout::GradientLayout(std::span<const std::int64_t> counts, std::int64_t bucket_elements) {
    const std::int64_t most = std::max(align_up(bucket_elements), kAlignment);
    slices.resize(counts.size());
    bool open = false;  // whether the last bucket takes more parameters
    for (std::size_t i = counts.size(); i-- > 0;) {
        order.push_back(i);
        Slice& slice = slices[i];
        slice.begin = elements;
        slice.count = counts[i];
        const std::int64_t width = align_up(slice.count);
        if (width == 0) continue;
        if (width > most) {
            const std::int64_t pieces = (width + most - 1) / most;
            slice.first_bucket = static_cast<int>(buckets.size());
            for (std::int64_t piece = 0; piece < pieces; ++piece)
                buckets.push_back({elements + align_up(width * piece / pieces),
                                   elements + align_up(width * (piece + 1) / pieces), 1});
            open = false;
        } else {
            if (!open || buckets.back().end - buckets.back().begin + width > most)
                buckets.push_back({elements, elements, 0});
            slice.first_bucket = static_cast<int>(buckets.size()) - 1;
            buckets.back().end += width;
            ++buckets.back().parameters;
            open = true;
        }
        slice.last_bucket = static_cast<int>(buckets.size()) - 1;
        elements += width;
    }
}

std::int64_t GradientLayout::slice_begin(const Bucket& bucket, int ranks, int rank) {
    const std::int64_t width = bucket.end - bucket.begin;
    if (rank == ranks) return bucket.end;
    return bucket.begin + width * rank / ranks / kAlignment * kAlignment;
}

}  // namespace skein
