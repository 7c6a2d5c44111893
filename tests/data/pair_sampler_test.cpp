#include "data/pair_sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "model/base/error.h"
#include "model/base/philox.h"

namespace skein {
namespace {

/// Lengths as sentences have them: most between 5 and 30, correlated, a few long.
std::vector<PairLength> some_lengths(std::uint64_t pairs) {
    std::vector<PairLength> out;
    for (std::uint64_t i = 0; i < pairs; ++i) {
        const PhiloxBlock word = philox({static_cast<std::uint32_t>(i), 0, 0, 0}, {1, 2});
        const std::uint32_t target = 3 + word[0] % 15 + word[1] % 15 + (word[2] % 50 == 0 ? 60 : 0);
        out.push_back({target - word[3] % 3, target});
    }
    return out;
}

PairSamplerOptions by_tokens(std::uint64_t tokens, std::uint64_t window = 1000) {
    return {.batch_tokens = tokens, .context = 128, .window = window, .seed = 5};
}

bool is_same(const PairPlan& a, const PairPlan& b) {
    return a.place == b.place && a.first_sample == b.first_sample && a.samples_before == b.samples_before &&
           a.pairs == b.pairs && a.lengths == b.lengths;
}

TEST(PairSampler, AnEpochHasEveryPairOnceWithItsLengths) {
    const auto lengths = some_lengths(4321);
    for (const PairSamplerOptions& options :
         {by_tokens(2000), by_tokens(100), by_tokens(1'000'000), by_tokens(2000, 1), by_tokens(2000, 100'000),
          PairSamplerOptions{.batch = 24, .context = 128, .window = 1000, .seed = 5}}) {
        const PairSampler sampler(lengths, options);
        for (const std::uint64_t epoch : {0u, 1u, 7u}) {
            std::vector<int> seen(lengths.size());
            std::uint64_t sample = epoch * lengths.size();
            for (std::uint64_t window = 0; window < sampler.windows_per_epoch(); ++window) {
                std::uint64_t before = 0;
                for (const PairPlan& plan : sampler.plan_window(epoch, window)) {
                    ASSERT_EQ(plan.first_sample, sample);
                    ASSERT_EQ(plan.samples_before, before);
                    sample += plan.samples();
                    before += plan.samples();
                    ASSERT_EQ(plan.pairs.size(), plan.lengths.size());
                    std::uint64_t targets = 0;
                    for (std::uint64_t i = 0; i < plan.samples(); ++i) {
                        ++seen[plan.pairs[i]];
                        ASSERT_EQ(plan.lengths[i].source, lengths[plan.pairs[i]].source + 1);
                        ASSERT_EQ(plan.lengths[i].target, lengths[plan.pairs[i]].target + 1);
                        targets += plan.lengths[i].target;
                    }
                    ASSERT_EQ(plan.target_tokens(), targets);
                }
            }
            EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<std::ptrdiff_t>(lengths.size()));
        }
        EXPECT_THROW(sampler.plan_window(0, sampler.windows_per_epoch()), DataError);
    }
}

TEST(PairSampler, BatchesStayWithinTheBudgetAndAreEven) {
    const auto lengths = some_lengths(8000);
    const PairSampler sampler(lengths, by_tokens(3000, 2000));
    for (std::uint64_t window = 0; window < 4; ++window) {
        const auto plans = sampler.plan_window(0, window);
        std::uint64_t real = 0, least = 3000, most = 0;
        for (const PairPlan& plan : plans) {
            std::uint64_t longest = 0;
            for (const PairLength length : plan.lengths)
                longest = std::max<std::uint64_t>({longest, length.source, length.target});
            const std::uint64_t size = plan.samples() * longest;
            EXPECT_LE(size, 3000u);
            real += plan.target_tokens();
            least = std::min(least, size);
            most = std::max(most, size);
        }
        EXPECT_LT(plans.size(), real / 3000 + 5);
        // They differ by a few sentences of the longest, some 90 tokens each. Filled to the brim, the last
        // one would hold what is left.
        EXPECT_GT(least + 5 * 90, most);
    }
}

TEST(PairSampler, BatchesByNumberAreFullButForTheLastOfAnEpoch) {
    const auto lengths = some_lengths(1003);
    const PairSampler sampler(lengths, {.batch = 24, .context = 128, .window = 100, .seed = 5});
    EXPECT_EQ(sampler.windows_per_epoch(), 11u);  // of 96
    std::uint64_t partial = 0, samples = 0;
    for (std::uint64_t window = 0; window < sampler.windows_per_epoch(); ++window)
        for (const PairPlan& plan : sampler.plan_window(2, window)) {
            partial += plan.samples() != 24;
            samples += plan.samples();
        }
    EXPECT_EQ(partial, 1u);
    EXPECT_EQ(samples, 1003u);
    // A batch larger than the window widens it.
    const PairSampler wide(lengths, {.batch = 500, .context = 128, .window = 100, .seed = 5});
    EXPECT_EQ(wide.plan_window(0, 0).size(), 1u);
    EXPECT_EQ(wide.plan_window(0, 0)[0].samples(), 500u);
}

TEST(PairSampler, IsAFunctionOfLengthsOptionsSeedAndEpoch) {
    const auto lengths = some_lengths(3000);
    PairSamplerOptions other_seed = by_tokens(2000);
    other_seed.seed = 6;
    const PairSampler a(lengths, by_tokens(2000)), again(lengths, by_tokens(2000)),
        other(lengths, other_seed);
    const auto plans = a.plan_window(3, 1), same = again.plan_window(3, 1);
    ASSERT_EQ(plans.size(), same.size());
    for (std::size_t i = 0; i < plans.size(); ++i) EXPECT_TRUE(is_same(plans[i], same[i]));
    const auto pairs_of = [](const std::vector<PairPlan>& window) {
        std::set<std::uint64_t> out;
        for (const PairPlan& plan : window) out.insert(plan.pairs.begin(), plan.pairs.end());
        return out;
    };
    EXPECT_NE(pairs_of(plans), pairs_of(a.plan_window(4, 1)));      // another epoch
    EXPECT_NE(pairs_of(plans), pairs_of(other.plan_window(3, 1)));  // another seed
}

TEST(PairSampler, BatchesOfAWindowDoNotComeByLength) {
    const PairSampler sampler(some_lengths(8000), by_tokens(2000, 8000));
    const auto plans = sampler.plan_window(0, 0);
    ASSERT_GT(plans.size(), 50u);
    std::uint64_t rises = 0;
    for (std::size_t i = 1; i < plans.size(); ++i)
        rises += plans[i].lengths[0].target > plans[i - 1].lengths[0].target;
    // About half of the steps rise in a random order; in one by length all or none do.
    EXPECT_GT(rises, plans.size() / 4);
    EXPECT_LT(rises, plans.size() * 3 / 4);
}

TEST(PairWalk, StartsAnywhereAsIfItHadWalkedThere) {
    const auto lengths = some_lengths(2500);
    const PairSampler sampler(lengths, by_tokens(1500, 600));
    std::vector<PairPlan> all;
    PairWalk from_start(sampler, {});
    for (int i = 0; i < 120; ++i) {
        EXPECT_EQ(from_start.cursor(), from_start.cursor());
        const PairCursor announced = from_start.cursor();
        all.push_back(from_start.next());
        ASSERT_EQ(all.back().place, announced);
    }
    ASSERT_GT(all.back().place.epoch, 1u);
    for (std::size_t i = 0; i < all.size(); i += 7) {
        PairWalk walk(sampler, all[i].place);
        for (std::size_t j = i; j < std::min(all.size(), i + 40); ++j)
            ASSERT_TRUE(is_same(walk.next(), all[j]));
        EXPECT_EQ(sampler.find(all[i].place.epoch, all[i].place.window, all[i].samples_before), all[i].place);
    }
    EXPECT_THROW(PairWalk(sampler, {0, 0, 1000}), DataError);
    EXPECT_THROW(PairWalk(sampler, {0, 1000, 0}), DataError);
}

TEST(PairSampler, FindsTheNextWindowWhenOneIsConsumed) {
    const PairSampler sampler(some_lengths(2500), by_tokens(1500, 600));
    EXPECT_EQ(sampler.find(1, 2, 600), (PairCursor{1, 3, 0}));
    EXPECT_EQ(sampler.find(1, 4, 100), (PairCursor{2, 0, 0}));
    EXPECT_EQ(sampler.find(0, 0, 1), (PairCursor{0, 0, 1}));
}

TEST(PairSampler, PairsLongerThanTheContextAreAnErrorDroppedOrTruncated) {
    std::vector<PairLength> lengths = some_lengths(100);
    for (PairLength& length : lengths) length = {std::min(length.source, 9u), std::min(length.target, 9u)};
    lengths[17] = {10, 3};
    lengths[40] = {3, 12};
    PairSamplerOptions options{.batch = 10, .context = 10, .window = 50, .seed = 1};
    try {
        const PairSampler sampler(lengths, options);
        ADD_FAILURE();
    } catch (const DataError& error) {
        EXPECT_STREQ(error.what(),
                     "pairs: pair 17 has 10 source and 3 target tokens, wanted at most 9 for a context of 10 "
                     "with an end token (--train.long-pairs drops or truncates them)");
    }
    options.long_pairs = LongPairs::kDrop;
    const PairSampler dropping(lengths, options);
    EXPECT_EQ(dropping.dropped(), 2u);
    EXPECT_EQ(dropping.pairs(), 98u);
    std::set<std::uint64_t> seen;
    for (std::uint64_t window = 0; window < dropping.windows_per_epoch(); ++window)
        for (const PairPlan& plan : dropping.plan_window(0, window))
            for (std::uint64_t i = 0; i < plan.samples(); ++i) {
                seen.insert(plan.pairs[i]);
                EXPECT_EQ(plan.lengths[i].target, lengths[plan.pairs[i]].target + 1);
            }
    EXPECT_EQ(seen.size(), 98u);
    EXPECT_FALSE(seen.contains(17) || seen.contains(40));
    options.long_pairs = LongPairs::kTruncate;
    const PairSampler truncating(lengths, options);
    EXPECT_EQ(truncating.truncated(), 2u);
    EXPECT_EQ(truncating.pairs(), 100u);
    for (std::uint64_t window = 0; window < truncating.windows_per_epoch(); ++window)
        for (const PairPlan& plan : truncating.plan_window(0, window))
            for (const PairLength length : plan.lengths)
                EXPECT_LE(std::max(length.source, length.target), 10u);
}

TEST(PairSampler, OptionsThatCannotBeMetAreErrors) {
    const std::vector<PairLength> lengths{{3, 4}, {9, 2}};
    const PairSamplerOptions good{.batch_tokens = 10, .context = 10};
    EXPECT_EQ(PairSampler(lengths, good).pairs(), 2u);
    PairSamplerOptions wrong = good;
    wrong.batch = 2;
    EXPECT_THROW(PairSampler(lengths, wrong), ConfigError);
    wrong = good;
    wrong.batch_tokens = 0;
    EXPECT_THROW(PairSampler(lengths, wrong), ConfigError);
    wrong.batch_tokens = 9;  // less than the longest with its end token
    EXPECT_THROW(PairSampler(lengths, wrong), ConfigError);
    wrong = good;
    wrong.window = 0;
    EXPECT_THROW(PairSampler(lengths, wrong), ConfigError);
    wrong = good;
    wrong.context = 1;
    EXPECT_THROW(PairSampler(lengths, wrong), ConfigError);
    EXPECT_THROW(PairSampler({}, good), DataError);
}

TEST(PlanValidation, TakesPairsInOrderWithinTheBudget) {
    const auto lengths = some_lengths(700);
    std::uint64_t pair = 0;
    const auto passes = plan_validation(lengths, 800, 128);
    for (const PairPlan& pass : passes) {
        EXPECT_EQ(pass.first_sample, pair);
        std::uint64_t longest = 0;
        for (std::uint64_t i = 0; i < pass.samples(); ++i, ++pair) {
            ASSERT_EQ(pass.pairs[i], pair);
            longest = std::max<std::uint64_t>({longest, pass.lengths[i].source, pass.lengths[i].target});
        }
        EXPECT_LE(pass.samples() * longest, 800u);
    }
    EXPECT_EQ(pair, 700u);
    EXPECT_EQ(plan_validation(lengths, 1, 128).size(), 700u);  // one at least
    EXPECT_THROW(plan_validation(lengths, 800, 20), DataError);
    EXPECT_LT(plan_validation(lengths, 800, 20, LongPairs::kDrop).back().first_sample, 700u);
    EXPECT_TRUE(plan_validation({}, 800, 128).empty());
}

TEST(CountPadding, IsWhatTheRectanglesHoldAndSortingLowersIt) {
    PairPlan plan;
    plan.lengths = {{2, 3}, {4, 3}, {1, 1}};
    plan.pairs = {0, 1, 2};
    const PaddingCount whole = count_padding(plan, 0, 3), part = count_padding(plan, 1, 3);
    EXPECT_EQ(whole.real, 14u);
    EXPECT_EQ(whole.padded, 3u * (4 + 3));
    EXPECT_EQ(part.real, 9u);
    EXPECT_EQ(part.padded, 2u * (4 + 3));
    EXPECT_EQ(count_padding(plan, 1, 1).padded, 0u);
    const auto lengths = some_lengths(8000);
    const PaddingCount sorted = count_padding(PairSampler(lengths, by_tokens(2000, 8000)), 0, 1);
    const PaddingCount plain =
        count_padding(PairSampler(lengths, {.batch = 100, .context = 128, .window = 1, .seed = 5}), 0, 1);
    std::uint64_t real = 0;
    for (const PairLength length : lengths) real += length.source + length.target + 2;
    EXPECT_EQ(sorted.real, real);
    EXPECT_EQ(plain.real, real);
    EXPECT_GT(sorted.real_share(), 0.9);
    EXPECT_LT(plain.real_share(), 0.6);
    EXPECT_GE(count_padding(PairSampler(lengths, by_tokens(2000, 8000)), 0, 8).real_share(),
              sorted.real_share());
}

}  // namespace
}  // namespace skein
