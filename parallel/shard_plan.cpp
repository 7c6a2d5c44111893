#include "parallel/shard_plan.h"

#include <algorithm>

#include "model/base/error.h"
#include "model/kernels/elementwise.h"

namespace skein {
namespace {

// The parameters' elements in [begin, end) of the buffer.
std::vector<ParameterRun> runs_in(const GradientLayout& layout, std::span<const std::int64_t> counts,
                                  std::int64_t begin, std::int64_t end) {
    const auto begins_at = [&](std::size_t parameter) { return layout.slices[parameter].begin; };
    std::vector<ParameterRun> runs;
    auto at = std::ranges::upper_bound(layout.order, begin, {}, begins_at);
    if (at != layout.order.begin()) --at;
    for (; at != layout.order.end() && begins_at(*at) < end; ++at) {
        const std::int64_t first = std::max<std::int64_t>(begin - begins_at(*at), 0);
        const std::int64_t last = std::min(end - begins_at(*at), counts[*at]);
        if (first < last) runs.push_back({*at, first, last - first});
    }
    return runs;
}

}  // namespace

ShardPlan::ShardPlan(const GradientLayout& layout, std::span<const std::int64_t> counts, int rank,
                     std::int64_t blocks_of_a_group) {
    for (std::size_t i = 0; i < counts.size(); ++i)
        if (counts[i] > layout.slices[i].count)
            throw Error(text("shard plan: parameter ", i, " has ", counts[i], " elements, and room for ",
                             layout.slices[i].count));
    const std::size_t ranks = layout.buckets.empty() ? 1 : layout.buckets.front().cuts.size() - 1;
    std::vector<std::vector<ParameterRun>> by_rank(ranks);
    std::int64_t blocks = 0;  // in this group
    for (std::size_t bucket = 0; bucket < layout.buckets.size(); ++bucket) {
        const std::vector<std::int64_t>& cuts = layout.buckets[bucket].cuts;
        for (std::size_t r = 0; r < ranks; ++r)
            for (const ParameterRun& run : runs_in(layout, counts, cuts[r], cuts[r + 1])) {
                by_rank[r].push_back(run);
                if (static_cast<int>(r) != rank) {
                    others.push_back(run);
                    continue;
                }
                own.push_back(run);
                blocks += kernels::norm_blocks(run.count);
            }
        if (blocks >= blocks_of_a_group || bucket + 1 == layout.buckets.size()) {
            groups.push_back({bucket + 1, own.size(), others.size()});
            blocks = 0;
        }
    }
    std::vector<std::size_t> first_of(counts.size());  // of a parameter's blocks in order of creation
    std::size_t all = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        first_of[i] = all;
        all += static_cast<std::size_t>(kernels::norm_blocks(counts[i]));
    }
    places.resize(all);
    first_block.push_back(0);
    for (const std::vector<ParameterRun>& runs : by_rank) {
        std::int64_t place = first_block.back();
        for (const ParameterRun& run : runs) {
            const std::size_t first =
                first_of[run.parameter] + static_cast<std::size_t>(run.begin / kernels::kNormBlock);
            for (std::int64_t i = 0; i < kernels::norm_blocks(run.count); ++i)
                places[first + static_cast<std::size_t>(i)] = static_cast<std::int32_t>(place++);
        }
        first_block.push_back(place);
    }
}

}  // namespace skein
