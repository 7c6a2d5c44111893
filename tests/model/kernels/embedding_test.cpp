#include "model/kernels/embedding.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/tensor/pool.h"
#include "tests/support/random_values.h"

namespace skein::kernels {
namespace {

using test::at;
using test::random_floats;
using test::random_ids;
using Floats = std::vector<float>;

constexpr PhiloxKey kKey{13, 21};
constexpr RowPlace kPlace{5, 40, 2};
constexpr std::int64_t kRows = 60, kVocabulary = 37, kContext = 9;

TEST(Embedding, ScalesAddsPositionsAndDropsLikeKeeps) {
    for (const std::int64_t width : {3, 8, 70})
        for (const bool positions : {false, true})
            for (const double probability : {0.0, 0.2}) {
                const Floats table = random_floats(kVocabulary * width, 1),
                             offsets = random_floats(kContext * width, 2);
                const std::vector<std::int32_t> ids = random_ids(kRows, kVocabulary, 3);
                EmbeddingArgs args{.rows = kRows, .width = width, .vocabulary = kVocabulary};
                args.ids = ids.data();
                args.table = table.data();
                args.positions = positions ? offsets.data() : nullptr;
                args.scale = 3.0f;
                args.dropout = make_dropout(probability, kKey);
                args.place = kPlace;
                Floats first;
                for (const int threads : {1, 2, 3}) {
                    CpuStream stream{threads, nullptr};
                    Floats y(static_cast<std::size_t>(kRows * width));
                    args.y = y.data();
                    embedding(stream, args);
                    if (threads == 1) first = y;
                    ASSERT_EQ(y, first);
                }
                for (std::int64_t r = 0; r < kRows; ++r)
                    for (std::int64_t c = 0; c < width; ++c) {
                        const std::int64_t position = 2 + r % 5;
                        double wanted = 3.0 * static_cast<double>(at(table, at(ids, r) * width + c));
                        if (positions) wanted += static_cast<double>(at(offsets, position * width + c));
                        wanted *= keeps(args.dropout, static_cast<std::uint32_t>(40 + r / 5),
                                        static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(c))
                                      ? static_cast<double>(args.dropout.scale)
                                      : 0.0;
                        // at most three roundings of terms of up to about 20
                        ASSERT_NEAR(static_cast<double>(at(first, r * width + c)), wanted, 5e-6);
                    }
            }
}

TEST(EmbeddingBackward, SumsRepeatedIdsInOrderAndZeroesWhatDoesNotOccur) {
    for (const std::int64_t width : {3, 8, 70})
        for (const bool accumulate : {false, true}) {
            const Floats dy = random_floats(kRows * width, 1);
            std::vector<std::int32_t> ids = random_ids(kRows, 8, 3);  // eight ids, many times each
            ids[7] = kVocabulary - 1;
            const Floats old_table = random_floats(kVocabulary * width, 4),
                         old_positions = random_floats(kContext * width, 5);
            Floats first_table, first_positions;
            for (const int threads : {1, 2, 3}) {
                Pool pool;
                CpuStream stream{threads, &pool};
                Floats dtable = old_table, dpositions = old_positions;
                EmbeddingBackwardArgs args{
                    .rows = kRows, .width = width, .vocabulary = kVocabulary, .context = kContext};
                args.ids = ids.data();
                args.dy = dy.data();
                args.scale = 3.0f;
                args.place = kPlace;
                args.dtable = dtable.data();
                args.dpositions = dpositions.data();
                args.accumulate_table = args.accumulate_positions = accumulate;
                embedding_backward(stream, args);
                if (threads == 1) first_table = dtable, first_positions = dpositions;
                ASSERT_EQ(dtable, first_table);
                ASSERT_EQ(dpositions, first_positions);
            }
            std::vector<float> table(first_table.size()), positions(first_positions.size());
            for (std::int64_t r = 0; r < kRows; ++r)  // in order of r, in fp32: the very bits
                for (std::int64_t c = 0; c < width; ++c) {
                    at(table, at(ids, r) * width + c) += at(dy, r * width + c);
                    at(positions, (2 + r % 5) * width + c) += at(dy, r * width + c);
                }
            for (std::size_t i = 0; i < table.size(); ++i)
                ASSERT_EQ(first_table[i], 3.0f * table[i] + (accumulate ? old_table[i] : 0.0f));
            for (std::size_t i = 0; i < positions.size(); ++i)
                ASSERT_EQ(first_positions[i], positions[i] + (accumulate ? old_positions[i] : 0.0f));
        }
}

}  // namespace
}  // namespace skein::kernels
