#include "model/base/philox.h"

#include <gtest/gtest.h>

#include <set>

namespace skein {
namespace {

// The known answers of the authors' own Random123 distribution (kat_vectors, philox 4x32 10).
TEST(Philox, GivesTheKnownAnswersOfRandom123) {
    EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
              (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, KeysOfDifferentPurposeStepAndPlaceDiffer) {
    std::set<std::pair<std::uint32_t, std::uint32_t>> keys;
    int made = 0;
    for (std::uint64_t seed : {0ull, 1ull, 1ull << 40})
        for (auto purpose :
             {RandomPurpose::kInitialValues, RandomPurpose::kDropout, RandomPurpose::kSampleOrder})
            for (std::uint64_t step = 0; step < 20; ++step)
                for (std::uint32_t place = 0; place < 20; ++place, ++made) {
                    const PhiloxKey key = philox_key(seed, purpose, step, place);
                    keys.insert({key.k0, key.k1});
                }
    EXPECT_EQ(keys.size(), static_cast<std::size_t>(made));
}

}  // namespace
}  // namespace skein
