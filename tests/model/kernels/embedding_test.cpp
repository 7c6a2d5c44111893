#include "model/kernels/embedding.h"

#include <gtest/gtest.h>

#include <algorithm>
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

// parts of the vocabulary, one of a single id and one of none
constexpr std::int64_t kCuts[] = {0, 8, 8, 9, kVocabulary};

TEST(Embedding, OfAPartOfTheTableIsTheWholesRowOrZero) {
    constexpr std::int64_t kWidth = 70;
    const Floats table = random_floats(kVocabulary * kWidth, 1),
                 offsets = random_floats(kContext * kWidth, 2);
    std::vector<std::int32_t> ids = random_ids(kRows, kVocabulary, 3);
    ids[0] = 8, ids[1] = 7, ids[2] = 9, ids[3] = 0, ids[4] = kVocabulary - 1;
    EmbeddingArgs args{.rows = kRows, .width = kWidth, .vocabulary = kVocabulary};
    args.ids = ids.data();
    args.table = table.data();
    args.positions = offsets.data();
    args.scale = 3.0f;
    args.dropout = make_dropout(0.2, kKey);
    args.place = kPlace;
    Floats whole(static_cast<std::size_t>(kRows * kWidth));
    args.y = whole.data();
    CpuStream stream{2, nullptr};
    embedding(stream, args);
    for (std::size_t part = 0; part + 1 < std::size(kCuts); ++part) {
        args.first_id = kCuts[part];
        args.vocabulary = kCuts[part + 1] - args.first_id;
        args.table = table.data() + args.first_id * kWidth;
        Floats y(whole.size(), 7.0f), wanted(whole.size());
        args.y = y.data();
        embedding(stream, args);
        for (std::int64_t r = 0; r < kRows; ++r)
            if (at(ids, r) >= args.first_id && at(ids, r) < args.first_id + args.vocabulary)
                std::copy_n(whole.begin() + r * kWidth, kWidth, wanted.begin() + r * kWidth);
        EXPECT_EQ(y, wanted) << "part " << part;
    }
}

TEST(Embedding, OfASliceOfRowsIsTheWholesSlice) {
    constexpr std::int64_t kWidth = 70;
    const Floats table = random_floats(kVocabulary * kWidth, 1),
                 offsets = random_floats(kContext * kWidth, 2);
    const std::vector<std::int32_t> ids = random_ids(kRows, kVocabulary, 3);
    EmbeddingArgs args{.rows = kRows, .width = kWidth, .vocabulary = kVocabulary};
    args.ids = ids.data();
    args.table = table.data();
    args.positions = offsets.data();
    args.dropout = make_dropout(0.2, kKey);
    args.place = kPlace;
    Floats whole(static_cast<std::size_t>(kRows * kWidth));
    args.y = whole.data();
    CpuStream stream{2, nullptr};
    embedding(stream, args);
    for (const std::int64_t first_row : {0, 1, 5, 33, 59}) {
        args.rows = std::min<std::int64_t>(17, kRows - first_row);
        args.ids = ids.data() + first_row;
        args.place.first_row = first_row;
        Floats y(static_cast<std::size_t>(args.rows * kWidth));
        args.y = y.data();
        embedding(stream, args);
        const auto from = whole.begin() + first_row * kWidth;
        EXPECT_EQ(y, Floats(from, from + args.rows * kWidth)) << "from row " << first_row;
    }
}

TEST(EmbeddingBackward, OfAPartOfTheTableIsTheWholesPart) {
    constexpr std::int64_t kWidth = 20;
    const Floats dy = random_floats(kRows * kWidth, 1), old_table = random_floats(kVocabulary * kWidth, 4),
                 old_positions = random_floats(kContext * kWidth, 5);
    std::vector<std::int32_t> ids = random_ids(kRows, kVocabulary, 3);
    ids[0] = 8, ids[1] = 7, ids[2] = 9, ids[3] = 0, ids[4] = kVocabulary - 1;
    for (const bool accumulate : {false, true}) {
        const auto run = [&](std::int64_t begin, std::int64_t end) {
            Pool pool;
            CpuStream stream{2, &pool};
            std::pair out(Floats(old_table.begin() + begin * kWidth, old_table.begin() + end * kWidth),
                          old_positions);
            EmbeddingBackwardArgs args{.rows = kRows, .width = kWidth, .vocabulary = end - begin};
            args.first_id = begin;
            args.ids_end = kVocabulary;
            args.context = kContext;
            args.ids = ids.data();
            args.dy = dy.data();
            args.scale = 3.0f;
            args.place = kPlace;
            args.dtable = out.first.data();
            args.dpositions = out.second.data();
            args.accumulate_table = args.accumulate_positions = accumulate;
            embedding_backward(stream, args);
            return out;
        };
        const auto whole = run(0, kVocabulary);
        for (std::size_t part = 0; part + 1 < std::size(kCuts); ++part) {
            const auto [table, positions] = run(kCuts[part], kCuts[part + 1]);
            EXPECT_EQ(table, Floats(whole.first.begin() + kCuts[part] * kWidth,
                                    whole.first.begin() + kCuts[part + 1] * kWidth));
            EXPECT_EQ(positions, whole.second);  // of all rows, be their ids of the part or not
        }
    }
}

}  // namespace
}  // namespace skein::kernels
