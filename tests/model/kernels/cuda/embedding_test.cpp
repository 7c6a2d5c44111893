#include "model/kernels/embedding.h"

#include <algorithm>
#include <numeric>

#include "model/kernels/cuda/sort_rows.h"
#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

using Ids = std::vector<std::int32_t>;

template <class T>
class CudaEmbedding : public ::testing::Test {};
TYPED_TEST_SUITE(CudaEmbedding, ElementTypes);

TEST(CudaSortRows, GroupsRowsByIdInTheirOrder) {
    struct Shape {
        std::int64_t rows;
        std::int32_t vocabulary;
    };
    // one to three passes of eight bits; parts of a tile and several tiles
    for (const Shape shape : {Shape{0, 5}, {1, 1}, {700, 3}, {1024, 256}, {5000, 257}, {3000, 70000}}) {
        const auto [rows, vocabulary] = shape;
        Ids ids = random_ids(rows, vocabulary, 11);
        if (rows > 1) ids[0] = vocabulary - 1;
        const auto found = in_every_order([&] {
            ShimStream stream;
            Ids workspace(static_cast<std::size_t>(sort_rows_workspace(rows, vocabulary)));
            const RowsById by_id =
                sort_rows(stream, rows, {0, vocabulary, vocabulary}, ids.data(), workspace.data());
            return std::pair(Ids(by_id.order, by_id.order + rows),
                             Ids(by_id.first, by_id.first + vocabulary + 1));
        });
        Ids order(static_cast<std::size_t>(rows));
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return at(ids, a) < at(ids, b); });
        EXPECT_EQ(found.first, order);
        Ids first(static_cast<std::size_t>(vocabulary) + 1);
        for (const std::int32_t id : ids) ++at(first, id + 1);
        std::partial_sum(first.begin(), first.end(), first.begin());
        EXPECT_EQ(found.second, first);
    }
}

enum class Positions { kNone, kOfTheTable, kFp32 };

TYPED_TEST(CudaEmbedding, ForwardIsTheCpusRoundedOnce) {
    const std::int64_t rows = 21, vocabulary = 13, context = 9;
    const RowPlace place{7, 3, 2};
    const Ids ids = random_ids(rows, 13, 3);
    for (const std::int64_t width : {3, 16, 75})
        for (const Positions which : {Positions::kNone, Positions::kOfTheTable, Positions::kFp32})
            for (const double dropout : {0.0, 0.25}) {
                const Floats table = random_in<TypeParam>(vocabulary * width, 1),
                             positions = which == Positions::kFp32 ? random_floats(context * width, 2)
                                                                   : random_in<TypeParam>(context * width, 2);
                const auto found = in_every_order([&] {
                    ShimStream stream;
                    const auto from = rounded<TypeParam>(table), offsets = rounded<TypeParam>(positions);
                    std::vector<TypeParam> y(static_cast<std::size_t>(rows * width));
                    EmbeddingArgs args{.rows = rows, .width = width, .vocabulary = vocabulary};
                    args.ids = ids.data();
                    args.table = from.data();
                    if (which == Positions::kOfTheTable) args.positions = offsets.data();
                    if (which == Positions::kFp32) args.positions = positions.data();
                    args.scale = 2.5f;
                    args.dropout = make_dropout(dropout, {1, 2});
                    args.place = place;
                    args.y = y.data();
                    embedding(stream, args);
                    return y;
                });
                Pool pool;
                CpuStream cpu{1, &pool};
                Floats wanted(static_cast<std::size_t>(rows * width));
                EmbeddingArgs args{.rows = rows, .width = width, .vocabulary = vocabulary};
                args.ids = ids.data();
                args.table = table.data();
                if (which != Positions::kNone) args.positions = positions.data();
                args.scale = 2.5f;
                args.dropout = make_dropout(dropout, {1, 2});
                args.place = place;
                args.y = wanted.data();
                embedding(cpu, args);
                EXPECT_EQ(found, rounded<TypeParam>(wanted));
            }
}

/// fp32 gradients summed in the same order: the same bits, from dy that T holds.
template <class T>
void check_backward(std::int64_t rows, std::int64_t width, std::int32_t vocabulary, bool accumulate) {
    const std::int64_t context = 9;
    const RowPlace place{7, 0, 2};
    const Ids ids = random_ids(rows, vocabulary, 5);
    const Floats dy = random_in<T>(rows * width, 6), old_table = random_floats(vocabulary * width, 7),
                 old_positions = random_floats(context * width, 8);
    const auto run = [&](auto& stream, const auto& gradient) {
        std::pair out(old_table, old_positions);
        EmbeddingBackwardArgs args{
            .rows = rows, .width = width, .vocabulary = vocabulary, .context = context};
        args.ids = ids.data();
        args.dy = gradient.data();
        args.scale = 1.7f;
        args.place = place;
        args.dtable = out.first.data();
        args.dpositions = out.second.data();
        args.accumulate_table = args.accumulate_positions = accumulate;
        embedding_backward(stream, args);
        return out;
    };
    const auto found = in_every_order([&] {
        ShimStream stream;
        return run(stream, rounded<T>(dy));
    });
    Pool pool;
    CpuStream cpu{1, &pool};
    EXPECT_EQ(found, run(cpu, dy));
}

TYPED_TEST(CudaEmbedding, BackwardHasTheCpusBits) {
    for (const bool accumulate : {false, true}) {
        check_backward<TypeParam>(21, 3, 13, accumulate);
        check_backward<TypeParam>(1400, 16, 11, accumulate);
        check_backward<TypeParam>(350, 37, 300, accumulate);
    }
}

TEST(CudaSortRows, GroupsTheRowsOfARangeOfIds) {
    // ids of one to three bytes, most of them not of the range; ranges at both ends, and one without ids
    for (const IdRange range : {IdRange{0, 3, 9},
                                {3, 5, 9},
                                {8, 1, 9},
                                {4, 0, 9},
                                {250, 20, 300},
                                {7, 2, 300},
                                {69990, 10, 70000},
                                {0, 300, 70000}}) {
        const std::int64_t rows = 1500;
        const auto end = static_cast<std::int32_t>(range.end),
                   begin = static_cast<std::int32_t>(range.first_id);
        Ids ids = random_ids(rows, end, 11);
        ids[0] = end - 1, ids[1] = begin, ids[2] = std::max(begin - 1, 0), ids[1400] = begin;
        const auto found = in_every_order([&] {
            ShimStream stream;
            Ids workspace(static_cast<std::size_t>(sort_rows_workspace(rows, range.count)));
            const RowsById by_id = sort_rows(stream, rows, range, ids.data(), workspace.data());
            const std::int32_t first = by_id.first[0], last = by_id.first[range.count];
            Ids lengths;
            for (std::int64_t v = 0; v < range.count; ++v)
                lengths.push_back(by_id.first[v + 1] - by_id.first[v]);
            return std::pair(Ids(by_id.order + first, by_id.order + last), lengths);
        });
        std::pair<Ids, Ids> wanted;
        for (std::int64_t v = 0; v < range.count; ++v) {
            wanted.second.push_back(0);
            for (std::int64_t r = 0; r < rows; ++r)
                if (at(ids, r) == range.first_id + v) {
                    wanted.first.push_back(static_cast<std::int32_t>(r));
                    ++wanted.second.back();
                }
        }
        EXPECT_EQ(found, wanted) << "ids from " << range.first_id << " on, of " << range.end;
    }
}

TYPED_TEST(CudaEmbedding, OfAPartOfTheTableAndASliceOfRowsIsTheCpus) {
    const std::int64_t rows = 21, width = 37, context = 9;
    const Ids ids = random_ids(rows, 13, 3);
    for (const auto& [first_id, vocabulary] : {std::pair{0, 5}, {5, 1}, {6, 7}, {13, 0}}) {
        const Floats table = random_in<TypeParam>(vocabulary * width, 1),
                     positions = random_in<TypeParam>(context * width, 2);
        EmbeddingArgs args{.rows = rows, .width = width, .vocabulary = vocabulary, .first_id = first_id};
        args.ids = ids.data();
        args.scale = 2.5f;
        args.dropout = make_dropout(0.25, {1, 2});
        args.place = {7, 3, 2, 10};
        const auto found = in_every_order([&] {
            ShimStream stream;
            const auto from = rounded<TypeParam>(table), offsets = rounded<TypeParam>(positions);
            std::vector<TypeParam> y(static_cast<std::size_t>(rows * width), from_float<TypeParam>(7.0f));
            EmbeddingArgs own = args;
            own.table = from.data();
            own.positions = offsets.data();
            own.y = y.data();
            embedding(stream, own);
            return y;
        });
        Pool pool;
        CpuStream cpu{1, &pool};
        Floats wanted(static_cast<std::size_t>(rows * width));
        args.table = table.data();
        args.positions = positions.data();
        args.y = wanted.data();
        embedding(cpu, args);
        EXPECT_EQ(found, rounded<TypeParam>(wanted)) << "ids from " << first_id;
    }
}

TYPED_TEST(CudaEmbedding, BackwardOfAPartOfTheTableHasTheCpusBits) {
    // ids of two bytes, where the part's have one
    const std::int64_t rows = 1400, width = 16;
    const std::int32_t all_ids = 300;
    const Ids ids = random_ids(rows, all_ids, 5);
    for (const auto& [first_id, vocabulary] : {std::pair{0, 40}, {40, 1}, {41, 0}, {200, 100}})
        for (const bool accumulate : {false, true}) {
            const Floats dy = random_in<TypeParam>(rows * width, 6),
                         old_table = random_floats(vocabulary * width, 7);
            EmbeddingBackwardArgs args{.rows = rows, .width = width, .vocabulary = vocabulary};
            args.first_id = first_id;
            args.ids_end = all_ids;
            args.ids = ids.data();
            args.scale = 1.7f;
            args.accumulate_table = accumulate;
            const auto found = in_every_order([&] {
                ShimStream stream;
                const std::vector<TypeParam> gradient = rounded<TypeParam>(dy);
                Floats table = old_table;
                EmbeddingBackwardArgs own = args;
                own.dy = gradient.data();
                own.dtable = table.data();
                embedding_backward(stream, own);
                return table;
            });
            Pool pool;
            CpuStream cpu{1, &pool};
            Floats wanted = old_table;
            args.dy = dy.data();
            args.dtable = wanted.data();
            embedding_backward(cpu, args);
            EXPECT_EQ(found, wanted) << "ids from " << first_id;
        }
}

}  // namespace
}  // namespace skein::kernels::cuda
