#include "data/pair_batch.h"

#include <gtest/gtest.h>

#include "data/prefetcher.h"
#include "data/tokenizer.h"
#include "model/base/error.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

using Ids = std::vector<std::int32_t>;
const ShardHeader kHeader{100, "sentencepiece", ""};

class PairBatchTest : public testing::Test {
  protected:
    static PairStream write(const std::string& folder) {
        PairWriter writer(folder, "train", {kHeader, kHeader}, 300);
        for (std::int32_t pair = 0; pair < 90; ++pair)
            writer.append(Ids(static_cast<std::size_t>(1 + pair % 5), 4 + pair),
                          Ids(static_cast<std::size_t>(1 + pair % 7), 5 + pair));
        return {folder, writer.finish(), {kHeader, kHeader}};
    }

    TemporaryFolder folder_;
    PairStream stream_ = write(folder_.path());
    std::vector<PairLength> lengths_ = stream_.read_lengths();
    PairSampler sampler_{lengths_, {.batch_tokens = 60, .context = 8, .window = 40, .seed = 3}};
};

TEST_F(PairBatchTest, TargetsAreTheIdsAndAnEndAndInputsComeOneLaterBehindABegin) {
    for (const PairPlan& plan : sampler_.plan_window(0, 1)) {
        const PairBatch batch = read_pairs(stream_, plan, 0, plan.samples());
        ASSERT_EQ(batch.samples(), plan.samples());
        EXPECT_EQ(batch.place, plan.place);
        EXPECT_EQ(batch.batch_target_tokens, batch.targets.size());
        for (std::uint64_t i = 0; i < plan.samples(); ++i) {
            Ids source, target;
            stream_.read(plan.pairs[i], source, target);
            const auto part = [&](const Ids& ids, const std::vector<std::uint64_t>& offsets) {
                return Ids(ids.begin() + static_cast<std::ptrdiff_t>(offsets[i]),
                           ids.begin() + static_cast<std::ptrdiff_t>(offsets[i + 1]));
            };
            Ids inputs = target;
            inputs.insert(inputs.begin(), SentencePieceIds::kBegin);
            target.push_back(SentencePieceIds::kEnd);
            source.push_back(SentencePieceIds::kEnd);
            EXPECT_EQ(part(batch.source, batch.source_offsets), source);
            EXPECT_EQ(part(batch.inputs, batch.target_offsets), inputs);
            EXPECT_EQ(part(batch.targets, batch.target_offsets), target);
        }
    }
}

TEST_F(PairBatchTest, PartsOfABatchAreTheWholeOneAfterTheOther) {
    for (const PairPlan& plan : sampler_.plan_window(1, 0)) {
        const PairBatch whole = read_pairs(stream_, plan, 0, plan.samples());
        for (const std::uint64_t ranks : {1u, 3u, 4u, 64u}) {  // with 64 some have no sample
            Ids source, inputs, targets;
            for (std::uint64_t rank = 0; rank < ranks; ++rank) {
                const std::uint64_t begin = rank * plan.samples() / ranks;
                const PairBatch part = read_pairs(stream_, plan, begin, (rank + 1) * plan.samples() / ranks);
                EXPECT_EQ(part.batch_target_tokens, whole.targets.size());
                EXPECT_EQ(part.batch_samples, plan.samples());
                EXPECT_EQ(part.first_sample, whole.first_sample + begin);
                source.insert(source.end(), part.source.begin(), part.source.end());
                inputs.insert(inputs.end(), part.inputs.begin(), part.inputs.end());
                targets.insert(targets.end(), part.targets.begin(), part.targets.end());
            }
            EXPECT_EQ(source, whole.source);
            EXPECT_EQ(inputs, whole.inputs);
            EXPECT_EQ(targets, whole.targets);
        }
        EXPECT_THROW(read_pairs(stream_, plan, 0, plan.samples() + 1), DataError);
    }
}

TEST_F(PairBatchTest, PaddingStandsBehindEachSampleUpToTheLongest) {
    PairPlan plan;
    plan.pairs = {0, 8, 4};  // sources of 1, 4, 5 and targets of 1, 2, 5
    for (const std::uint64_t pair : plan.pairs)
        plan.lengths.push_back({lengths_[pair].source + 1, lengths_[pair].target + 1});
    const PairBatch batch = read_pairs(stream_, plan, 0, 3);
    const PaddedPairs both = pad_pairs(batch, 0, 2);
    EXPECT_EQ(both.source_length, 5u);
    EXPECT_EQ(both.target_length, 3u);
    EXPECT_EQ(both.source, (Ids{4, 2, 3, 3, 3, 12, 12, 12, 12, 2}));
    EXPECT_EQ(both.inputs, (Ids{1, 5, 3, 1, 13, 13}));
    EXPECT_EQ(both.targets, (Ids{5, 2, -1, 13, 13, 2}));
    EXPECT_EQ(both.source_lengths, (Ids{2, 5}));
    EXPECT_EQ(both.target_lengths, (Ids{2, 3}));
    const PaddedPairs last = pad_pairs(batch, 2, 3);
    EXPECT_EQ(last.source, (Ids{8, 8, 8, 8, 8, 2}));
    EXPECT_EQ(last.target_length, 6u);
    const PaddedPairs none = pad_pairs(batch, 3, 3);
    EXPECT_EQ(none.samples, 0u);
    EXPECT_EQ(none.source_length, 0u);
    EXPECT_TRUE(none.inputs.empty());
}

TEST_F(PairBatchTest, TruncatedPairsKeepTheirEndTokens) {
    const PairSampler sampler(lengths_,
                              {.batch = 90, .context = 4, .long_pairs = LongPairs::kTruncate, .seed = 3});
    const PairPlan plan = sampler.plan_window(0, 0).at(0);
    const PairBatch batch = read_pairs(stream_, plan, 0, 90);
    for (std::uint64_t i = 0; i < 90; ++i) {
        EXPECT_EQ(batch.source_offsets[i + 1] - batch.source_offsets[i],
                  std::min<std::uint64_t>(lengths_[plan.pairs[i]].source + 1, 4));
        EXPECT_EQ(batch.source[batch.source_offsets[i + 1] - 1], SentencePieceIds::kEnd);
        EXPECT_EQ(batch.targets[batch.target_offsets[i + 1] - 1], SentencePieceIds::kEnd);
    }
    EXPECT_EQ(batch.batch_target_tokens, batch.targets.size());
}

TEST_F(PairBatchTest, APairShorterThanPlannedIsAnError) {
    PairPlan plan;
    plan.pairs = {0};
    plan.lengths = {{5, 2}};
    EXPECT_THROW(read_pairs(stream_, plan, 0, 1), DataError);
}

TEST_F(PairBatchTest, ThePrefetcherGivesTheBatchesOfAWalk) {
    PairWalk walk(sampler_, {0, 1, 0}), again(sampler_, {0, 1, 0});
    Prefetcher batches(
        [&](std::uint64_t) {
            const PairPlan& plan = walk.next();
            return read_pairs(stream_, plan, 0, plan.samples());
        },
        0, 3);
    for (int i = 0; i < 60; ++i) {
        const PairPlan& plan = again.next();
        const PairBatch batch = batches.next();
        ASSERT_EQ(batch.place, plan.place);
        ASSERT_EQ(batch.targets, read_pairs(stream_, plan, 0, plan.samples()).targets);
    }
}

}  // namespace
}  // namespace skein
