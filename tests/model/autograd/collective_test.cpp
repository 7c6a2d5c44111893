#include "model/autograd/ops/collective.h"

#include <cstring>
#include <functional>
#include <numeric>

#include "model/autograd/tensor_group.h"
#include "model/base/error.h"
#include "tests/model/autograd/plus.h"
#include "tests/support/random_values.h"
#include "tests/support/test_device.h"
#include "tests/support/thread_ranks.h"

namespace skein::test {
namespace {

using Floats = std::vector<float>;
/// By rank.
using OfRanks = std::vector<Floats>;

const std::vector<int> kGroups{1, 2, 3, 4};
const std::vector<DType> kDTypes{DType::f32, DType::bf16, DType::f16};

/// Calls f with a value of the C++ type of a dtype.
template <class F>
auto for_type(DType dtype, const F& f) {
    return dtype == DType::f32 ? f(float{}) : dtype == DType::bf16 ? f(Bf16{}) : f(F16{});
}
Tensor tensor_of(Stream& stream, DType dtype, const Shape& shape, const Floats& values) {
    return for_type(dtype, [&]<class T>(T) {
        std::vector<T> rounded;
        for (const float value : values) rounded.push_back(from_float<T>(value));
        return Tensor::from<T>(stream, shape, rounded);
    });
}
Floats floats_in(Stream& stream, const Tensor& tensor) {
    return for_type(tensor.dtype(), [&]<class T>(T) {
        Floats out;
        for (const T value : values_of<T>(stream, tensor)) out.push_back(to_float(value));
        return out;
    });
}
float rounded_to(DType dtype, float value) {
    return for_type(dtype, [&]<class T>(T) { return to_float(from_float<T>(value)); });
}

/// What body(group, stream) gives on each of `size` ranks.
OfRanks on_group(int size, const std::function<Floats(TensorGroup&, Stream&)>& body) {
    OfRanks out(static_cast<std::size_t>(size));
    on_ranks(size, [&](Communicator& communicator) {
        TensorGroup group(communicator);
        Stream stream(test_gpu(), 1);
        at(out, group.rank()) = body(group, stream);
    });
    return out;
}

/// Whole numbers of [-4, 4]: 16 bits hold the sums of four of them.
Floats whole_numbers(std::int64_t count, std::uint32_t seed) {
    Floats out;
    for (const std::int32_t id : random_ids(count, 9, seed)) out.push_back(static_cast<float>(id - 4));
    return out;
}

/// Of four binades of sizes, which 16 bits hold: sums depend on their order and on where they are rounded.
Floats uneven_values(DType dtype, std::int64_t count, int rank) {
    Floats out = random_floats(count, 7 + static_cast<std::uint32_t>(rank), rank % 2 == 0 ? 16.0f : 1.0f);
    for (float& value : out) value = rounded_to(dtype, value);
    return out;
}

/// In fp32, in the order of ranks, rounded once.
Floats sum_of(DType dtype, std::int64_t count, int size) {
    Floats out = uneven_values(dtype, count, 0);
    for (int rank = 1; rank < size; ++rank) {
        const Floats more = uneven_values(dtype, count, rank);
        for (std::size_t i = 0; i < out.size(); ++i) out[i] += more[i];
    }
    for (float& value : out) value = rounded_to(dtype, value);
    return out;
}

/// The elements of a rank's slice of rows.
Floats slice_of(const Floats& whole, std::int64_t rows, int size, int rank) {
    const std::int64_t width = rows > 0 ? count(whole) / rows : 0;
    return {whole.begin() + slice_begin(rows, size, rank) * width,
            whole.begin() + slice_begin(rows, size, rank + 1) * width};
}

TEST(TensorGroup, SumsInTheOrderOfRanksAndRoundsOnceOnAllRanksAlike) {
    for (const int size : kGroups)
        for (const DType dtype : kDTypes)
            for (const std::int64_t elements : {0, 1, 7, 8, 31, 64, 1003}) {
                const OfRanks found = on_group(size, [&](TensorGroup& group, Stream& stream) {
                    const Tensor values =
                        tensor_of(stream, dtype, {elements}, uneven_values(dtype, elements, group.rank()));
                    group.all_reduce(stream, values);
                    return floats_in(stream, values);
                });
                for (const Floats& of_rank : found)
                    EXPECT_EQ(of_rank, sum_of(dtype, elements, size)) << size << " ranks, " << elements;
            }
}

const std::vector<Shape> kShapes{{0, 3}, {1, 3}, {2, 1}, {3, 8}, {5, 3}, {8, 5}, {13, 2, 3}, {6}};

TEST(TensorGroup, ScattersTheSumByRowsOfWhichSomeRanksMayHaveNone) {
    for (const int size : kGroups)
        for (const DType dtype : kDTypes)
            for (const Shape& shape : kShapes) {
                const OfRanks found = on_group(size, [&](TensorGroup& group, Stream& stream) {
                    const Floats values = uneven_values(dtype, shape.elements(), group.rank());
                    const Tensor whole = tensor_of(stream, dtype, shape, values);
                    const Tensor slice = group.reduce_scatter_rows(stream, whole);
                    EXPECT_EQ(slice.shape().rank(), shape.rank());
                    EXPECT_EQ(floats_in(stream, whole), values) << "the whole is only read";
                    return floats_in(stream, slice);
                });
                const Floats sum = sum_of(dtype, shape.elements(), size);
                for (int rank = 0; rank < size; ++rank)
                    EXPECT_EQ(at(found, rank), slice_of(sum, shape[0], size, rank))
                        << "rank " << rank << " of " << size << ", " << text(shape);
            }
}

TEST(TensorGroup, GathersSlicesOfRowsOfWhichSomeAreEmpty) {
    for (const int size : kGroups)
        for (const DType dtype : kDTypes)
            for (const Shape& shape : kShapes) {
                const Floats whole = uneven_values(dtype, shape.elements(), 0);
                const OfRanks found = on_group(size, [&](TensorGroup& group, Stream& stream) {
                    std::vector<std::int64_t> extents{slice_begin(shape[0], size, group.rank() + 1) -
                                                      slice_begin(shape[0], size, group.rank())};
                    for (int axis = 1; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
                    const Tensor slice =
                        tensor_of(stream, dtype, Shape(std::span<const std::int64_t>(extents)),
                                  slice_of(whole, shape[0], size, group.rank()));
                    const Tensor all = group.all_gather_rows(stream, slice, shape[0]);
                    EXPECT_EQ(all.shape(), shape);
                    return floats_in(stream, all);
                });
                for (const Floats& of_rank : found)
                    EXPECT_EQ(of_rank, whole) << size << " ranks, " << text(shape);
            }
}

TEST(TensorGroup, GathersTensorsOfAnyLengthsAndDTypes) {
    for (const std::vector<std::int64_t>& counts :
         {std::vector<std::int64_t>{5}, {3, 0}, {0, 2, 9}, {4, 1, 0, 7}}) {
        const std::int64_t all = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
        std::vector<std::int64_t> wanted(static_cast<std::size_t>(all));
        std::iota(wanted.begin(), wanted.end(), std::int64_t{1} << 40);
        on_group(static_cast<int>(counts.size()), [&](TensorGroup& group, Stream& stream) -> Floats {
            const auto from = std::accumulate(counts.begin(), counts.begin() + group.rank(), wanted.begin(),
                                              [](auto place, std::int64_t n) { return place + n; });
            const std::vector<std::int64_t> own(from, from + at(counts, group.rank()));
            const Tensor mine =
                Tensor::from<std::int64_t>(stream, {at(counts, group.rank())}, std::span(own));
            EXPECT_EQ(values_of<std::int64_t>(stream, group.all_gather(stream, mine, counts)), wanted);

            const auto rank = static_cast<std::int64_t>(group.rank());
            const Tensor one = Tensor::from<std::int64_t>(stream, {1}, std::vector<std::int64_t>{rank});
            std::vector<std::int64_t> ranks(counts.size());
            std::iota(ranks.begin(), ranks.end(), 0);
            EXPECT_EQ(values_of<std::int64_t>(stream, group.all_gather(stream, one)), ranks);
            return {};
        });
    }
}

TEST(TensorGroup, CountsTheBytesItSends) {
    for (const int size : kGroups)
        for (const DType dtype : {DType::f32, DType::bf16}) {
            const auto element = static_cast<std::int64_t>(size_of(dtype));
            std::vector<std::int64_t> sent(static_cast<std::size_t>(size));
            on_group(size, [&](TensorGroup& group, Stream& stream) -> Floats {
                const std::int64_t others = size - 1;
                EXPECT_EQ(group.bytes_sent(), 0);
                const auto sends = [&](const auto& collective) {
                    group.forget_bytes();
                    collective();
                    return group.bytes_sent();
                };
                // what the ring of an all-reduce sends: twice all but the rank's own share
                const Tensor even = Tensor::zeros(stream, dtype, {12, 16});
                EXPECT_EQ(sends([&] { group.all_reduce(stream, even); }),
                          2 * others * even.elements() / size * element);
                const Tensor uneven = Tensor::zeros(stream, dtype, {5, 3});
                at(sent, group.rank()) = sends([&] { group.all_reduce(stream, uneven); });
                const std::int64_t own =
                    3 * (slice_begin(5, size, group.rank() + 1) - slice_begin(5, size, group.rank()));
                Tensor slice;
                EXPECT_EQ(sends([&] { slice = group.reduce_scatter_rows(stream, uneven); }),
                          (15 - own) * element);
                EXPECT_EQ(sends([&] { group.all_gather_rows(stream, slice, 5); }), others * own * element);
                EXPECT_EQ(sends([&] { group.all_gather(stream, uneven); }), others * 15 * element);
                return {};
            });
            EXPECT_EQ(std::accumulate(sent.begin(), sent.end(), std::int64_t{0}),
                      2 * (size - 1) * 15 * element);
        }
}

TEST(TensorGroup, RefusesASliceOfAnotherLength) {
    on_group(2, [](TensorGroup& group, Stream& stream) -> Floats {
        const Tensor slice = Tensor::zeros(stream, DType::f32, {3, 2});
        EXPECT_THROW(group.all_gather_rows(stream, slice, 5 + 3 * group.rank()), ShapeError);
        const std::vector<std::int64_t> counts{5, 5};
        EXPECT_THROW(group.all_gather(stream, slice, counts), ShapeError);
        return {};
    });
}

/// An op between the activations of a group: whether what it reads and what it gives is the same on all
/// ranks, or is each rank's own; and whether it is the slice of rows.
struct Op {
    const char* name;
    bool reads_same, gives_same, reads_slice, gives_slice;
    std::function<Var(TensorGroup&, const Var&, std::int64_t rows)> run;
};
// What a rank does with its part of the weights lies behind copy_to_group and gather_from_group, so their
// results count as its own although all ranks have the same.
const std::vector<Op> kOps{
    {"copy_to_group", true, false, false, false,
     [](TensorGroup& group, const Var& x, std::int64_t) { return copy_to_group(group, x); }},
    {"sum_over_group", false, true, false, false,
     [](TensorGroup& group, const Var& x, std::int64_t) { return sum_over_group(group, x); }},
    {"gather_from_group", false, false, true, false,
     [](TensorGroup& group, const Var& x, std::int64_t rows) { return gather_from_group(group, x, rows); }},
    {"scatter_sum_to_group", false, false, false, true,
     [](TensorGroup& group, const Var& x, std::int64_t) { return scatter_sum_to_group(group, x); }}};

/// What one side of an op is on every rank: [rows of the rank, width].
OfRanks side(std::int64_t rows, std::int64_t width, int size, bool same, bool slice, std::uint32_t seed) {
    OfRanks out;
    for (int rank = 0; rank < size; ++rank) {
        const Floats whole =
            whole_numbers(rows * width, seed + (same ? 0u : static_cast<std::uint32_t>(rank)));
        out.push_back(slice ? slice_of(whole, rows, size, rank) : whole);
    }
    return out;
}

/// <a, b>, over all ranks; what is the same on all counts once. In whole numbers, so exact.
std::int64_t dot(const OfRanks& a, const OfRanks& b, bool same) {
    std::int64_t total = 0;
    for (std::size_t rank = 0; rank < (same ? 1 : a.size()); ++rank) {
        EXPECT_EQ(a[rank].size(), b[rank].size());
        for (std::size_t i = 0; i < std::min(a[rank].size(), b[rank].size()); ++i)
            total += static_cast<std::int64_t>(a[rank][i]) * static_cast<std::int64_t>(b[rank][i]);
    }
    return total;
}

TEST(CollectiveOps, HaveTheAdjointForGradient) {
    const std::int64_t width = 3;
    for (const Op& op : kOps)
        for (const int size : kGroups)
            for (const DType dtype : kDTypes)
                for (const std::int64_t rows : {1, 2, 5, 9}) {
                    SCOPED_TRACE(text(op.name, ", ", size, " ranks, ", rows, " rows"));
                    const OfRanks x = side(rows, width, size, op.reads_same, op.reads_slice, 10),
                                  y = side(rows, width, size, op.gives_same, op.gives_slice, 50);
                    OfRanks gradient(x.size());
                    const OfRanks result = on_group(size, [&](TensorGroup& group, Stream& stream) {
                        const auto tensor = [&](const Floats& values) {
                            return tensor_of(stream, dtype, {count(values) / width, width}, values);
                        };
                        Tape tape(stream);
                        const Var input = tape.input(tensor(at(x, group.rank())));
                        const Var output = op.run(group, input, rows);
                        const Floats values = floats_in(stream, output.value());
                        const Tensor seed = tensor(at(y, group.rank()));
                        tape.backward(output, seed);
                        EXPECT_EQ(floats_in(stream, seed), at(y, group.rank())) << "the seed is only read";
                        const Tensor& back = tape.gradient_of(input);
                        EXPECT_EQ(back.dtype(), dtype);
                        at(gradient, group.rank()) = floats_in(stream, back);
                        return values;
                    });
                    // [Ax, y] = [x, A'y]
                    EXPECT_EQ(dot(result, y, op.gives_same), dot(x, gradient, op.reads_same));
                    for (int rank = 1; rank < size; ++rank) {
                        if (op.gives_same) {
                            EXPECT_EQ(at(result, rank), result[0]);
                        }
                        if (op.reads_same) {
                            EXPECT_EQ(at(gradient, rank), gradient[0]);
                        }
                    }
                }
}

TEST(CollectiveOps, LeaveAGradientAloneThatAnotherNodeHasToo) {
    on_group(2, [](TensorGroup& group, Stream& stream) -> Floats {
        Tape tape(stream);
        const Var z = tape.input(filled(stream, {3, 2}, 1.0f)), x = tape.input(filled(stream, {3, 2}, 2.0f));
        const Var sum = plus(copy_to_group(group, x), z);
        tape.backward(sum, filled(stream, {3, 2}, static_cast<float>(10 + group.rank())));
        EXPECT_EQ(floats_of(stream, tape.gradient_of(x)), Floats(6, 21.0f));
        EXPECT_EQ(floats_of(stream, tape.gradient_of(z)), Floats(6, static_cast<float>(10 + group.rank())));
        return {};
    });
}

TEST(CollectiveOps, SendNothingBackForAnInputThatNeedsNoGradient) {
    for (const Op& op : kOps)
        on_group(2, [&](TensorGroup& group, Stream& stream) -> Floats {
            Tape tape(stream);
            const Var x = tape.constant(filled(stream, {op.reads_slice ? 2 : 4, 2}, 1.0f));
            const Var y = op.run(group, x, 4);
            EXPECT_FALSE(tape.needs_gradient(y)) << op.name;
            group.forget_bytes();
            tape.backward(y, filled(stream, y.shape(), 1.0f));
            EXPECT_EQ(group.bytes_sent(), 0) << op.name;
            return {};
        });
}

TEST(CollectiveOps, GiveTheSameOnATapeThatOnlyInfers) {
    for (const Op& op : kOps)
        on_group(3, [&](TensorGroup& group, Stream& stream) -> Floats {
            const auto result = [&](Tape::Mode mode) {
                Tape tape(stream, mode);
                const std::int64_t rows =
                    op.reads_slice ? slice_begin(5, 3, group.rank() + 1) - slice_begin(5, 3, group.rank())
                                   : 5;
                const Floats values = random_floats(rows * 2, 3 + static_cast<std::uint32_t>(group.rank()));
                const Var x = tape.constant(Tensor::from<float>(stream, {rows, 2}, std::span(values)));
                return floats_of(stream, op.run(group, x, 5).value());
            };
            EXPECT_EQ(result(Tape::Mode::kInference), result(Tape::Mode::kRecord)) << op.name;
            return {};
        });
}

}  // namespace
}  // namespace skein::test
