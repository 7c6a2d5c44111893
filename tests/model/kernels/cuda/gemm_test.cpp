// In the shim program cuBLASLt is tests/support/cuda_lt.cpp.
#include "model/kernels/gemm.h"

#include <algorithm>
#include <type_traits>

#include "model/base/error.h"
#include "model/tensor/pool.h"
#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels {
namespace {

using namespace test;

template <class T>
class CudaGemm : public ::testing::Test {};
TYPED_TEST_SUITE(CudaGemm, ElementTypes);

constexpr float kGuard = -12345.5f;
constexpr bool kLayouts[4][2] = {{false, true}, {false, false}, {true, false}, {true, true}};
constexpr Epilogue kEpilogues[] = {Epilogue::kNone, Epilogue::kGelu, Epilogue::kRelu, Epilogue::kGeluBackward,
                                   Epilogue::kReluBackward};

/// What a product writes: c and aux whole, with what lies between their rows.
template <class T, class C>
struct Written {
    std::vector<C> c;
    std::vector<T> aux;
    friend bool operator==(const Written&, const Written&) = default;
};

/// Operands in T and c in C, whose rows are `padding` longer than they must be.
template <class T, class C>
struct Problem {
    GemmArgs args;
    std::vector<T> a, b;
    Written<T, C> before;
    Floats bias;

    /// `integers`: of -1, 0 and 1 (the bias of -4 ... 4), so that all three element types hold every sum of k
    /// products up to k = 100 exactly, and the order of additions makes no difference. Else normal.
    Problem(std::int64_t m, std::int64_t n, std::int64_t k, bool transpose_a, bool transpose_b, bool integers,
            std::int64_t padding) {
        args = {.transpose_a = transpose_a, .transpose_b = transpose_b, .m = m, .n = n, .k = k};
        args.lda = (transpose_a ? m : k) + padding;
        args.ldb = (transpose_b ? k : n) + padding;
        args.ldc = n + padding;
        args.ld_aux = n + 2 * padding;
        a = rounded<T>(values((transpose_a ? k : m) * args.lda, 1, integers));
        b = rounded<T>(values((transpose_b ? n : k) * args.ldb, 2, integers));
        before.c = rounded<C>(guarded(values(m * args.ldc, 3, integers), args.ldc));
        before.aux = rounded<T>(guarded(values(m * args.ld_aux, 4, integers), args.ld_aux));
        bias = random_floats(n, 5, 2.0f);
        if (integers)
            for (float& x : bias) x = std::clamp(std::round(x), -4.0f, 4.0f);
    }

    template <class Stream>
    Written<T, C> run(Stream& stream) const {
        Written<T, C> out = before;
        GemmArgs with = args;
        with.a = a.data();
        with.b = b.data();
        with.c = out.c.data();
        with.aux = out.aux.data();
        if (args.bias) with.bias = bias.data();
        gemm(stream, with);
        return out;
    }
    Written<T, C> on_cpu() const {
        Pool pool;
        CpuStream stream{1, &pool};
        return run(stream);
    }
    Written<T, C> on_cuda(CudaStream& stream) const {
        return in_every_order([&] { return run(stream); });
    }

  private:
    static Floats values(std::int64_t count, std::uint32_t seed, bool integers) {
        Floats out = random_floats(count, seed);
        if (integers)
            for (float& x : out) x = std::clamp(std::round(x), -1.0f, 1.0f);
        return out;
    }
    Floats guarded(Floats rows, std::int64_t stride) const {
        for (std::int64_t i = 0; i < args.m; ++i)
            for (std::int64_t j = args.n; j < stride; ++j) at(rows, i * stride + j) = kGuard;
        return rows;
    }
};

std::string name_of(const GemmArgs& args) {
    return text("m ", args.m, " n ", args.n, " k ", args.k, " transposed ", args.transpose_a,
                args.transpose_b, " accumulate ", args.accumulate, " bias ", args.bias != nullptr,
                " epilogue ", static_cast<int>(args.epilogue));
}

template <class T, class C>
void expect_the_cpus_bits(CudaStream& stream, const Problem<T, C>& problem) {
    SCOPED_TRACE(name_of(problem.args));
    const Written<T, C> found = problem.on_cuda(stream), wanted = problem.on_cpu();
    ASSERT_EQ(floats(found.c), floats(wanted.c));
    ASSERT_EQ(floats(found.aux), floats(wanted.aux));
}

/// Every layout, with and without accumulation, bias and epilogues.
template <class T, class C>
void check_whole_numbers() {
    CudaStream stream;
    const std::int64_t shapes[][4] = {{1, 1, 1, 0},    {5, 7, 3, 1},   {8, 16, 24, 0},
                                      {13, 24, 40, 8}, {3, 65, 17, 3}, {20, 9, 0, 2}};
    for (const auto& [m, n, k, padding] : shapes)
        for (const auto& [transpose_a, transpose_b] : kLayouts) {
            Problem<T, C> problem(m, n, k, transpose_a, transpose_b, true, padding);
            problem.args.accumulate = true;
            expect_the_cpus_bits(stream, problem);
            problem.args.accumulate = false;
            for (const bool biased : {false, true})
                for (const Epilogue epilogue : kEpilogues) {
                    problem.args.bias = biased ? problem.bias.data() : nullptr;
                    problem.args.epilogue = epilogue;
                    problem.args.dropout = {};
                    expect_the_cpus_bits(stream, problem);
                    problem.args.dropout = make_dropout(0.5, {5, 8});  // what is kept is doubled: exact
                    problem.args.place = {4, 3, 2, 5, 16};
                    expect_the_cpus_bits(stream, problem);
                }
        }
}

TYPED_TEST(CudaGemm, OfWholeNumbersHasTheCpusBitsInAllLayoutsWithEveryEpilogue) {
    check_whole_numbers<TypeParam, TypeParam>();
    if constexpr (!std::is_same_v<TypeParam, float>) check_whole_numbers<TypeParam, float>();
}

template <class T, class C>
void check_random(Epilogue epilogue, bool biased, bool accumulate) {
    CudaStream stream;
    const std::int64_t m = 19, n = 37, k = 300;
    for (const auto& [transpose_a, transpose_b] : kLayouts) {
        const Problem<T, float> plain(m, n, k, transpose_a, transpose_b, false, 3);
        const Floats sums = plain.on_cpu().c;  // before bias and epilogue
        Problem<T, C> problem(m, n, k, transpose_a, transpose_b, false, 3);
        problem.args.epilogue = epilogue;
        problem.args.accumulate = accumulate;
        problem.args.bias = biased ? problem.bias.data() : nullptr;
        SCOPED_TRACE(name_of(problem.args));
        const Written<T, C> found = problem.on_cuda(stream), wanted = problem.on_cpu();
        // The CPU sums each block of k in order, another library in some other one: each addition errs by
        // half a unit in the last place of a partial sum, of six standard deviations at most.
        const double fp32 = 2.0 * static_cast<double>(k) * 0x1p-24 * 6.0 * std::sqrt(static_cast<double>(k));
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < n; ++j) {
                // The product is rounded to C before its epilogue, whose slope is 1.13 at most; both results
                // are rounded.
                const double rounding =
                    kRounding<C> * std::abs(static_cast<double>(at(sums, i * plain.args.ldc + j)));
                const auto near = [&](double found_here, double wanted_here, double own_rounding) {
                    ASSERT_NEAR(
                        found_here, wanted_here,
                        1.13 * (fp32 + rounding) + 2.0 * own_rounding * (std::abs(wanted_here) + rounding))
                        << i << ", " << j;
                };
                const std::int64_t c = i * problem.args.ldc + j, aux = i * problem.args.ld_aux + j;
                near(static_cast<double>(to_float(at(found.c, c))),
                     static_cast<double>(to_float(at(wanted.c, c))), kRounding<C>);
                near(static_cast<double>(to_float(at(found.aux, aux))),
                     static_cast<double>(to_float(at(wanted.aux, aux))), kRounding<T>);
            }
    }
}

TYPED_TEST(CudaGemm, MatchesTheCpusForRandomValues) {
    for (const Epilogue epilogue : kEpilogues) {
        check_random<TypeParam, TypeParam>(epilogue, true, false);
        check_random<TypeParam, float>(epilogue, true, false);
    }
    check_random<TypeParam, TypeParam>(Epilogue::kNone, false, true);
    check_random<TypeParam, float>(Epilogue::kNone, false, true);
}

TYPED_TEST(CudaGemm, KeepsNoInputOfGeluWhereNoneIsWanted) {
    const Problem<TypeParam, TypeParam> problem(6, 9, 4, false, true, true, 1);
    std::vector<TypeParam> c = problem.before.c;
    GemmArgs args = problem.args;
    args.a = problem.a.data();
    args.b = problem.b.data();
    args.c = c.data();
    args.epilogue = Epilogue::kGelu;
    CudaStream stream;
    gemm(stream, args);
    Problem<TypeParam, TypeParam> kept = problem;
    kept.args.epilogue = Epilogue::kGelu;
    EXPECT_EQ(c, kept.on_cpu().c);
}

TEST(CudaGemm, LeavesCAloneWhenThereIsNothingToDo) {
    for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{0, 5, 5}, {5, 0, 5}, {5, 5, 0}}) {
        Problem<Bf16, float> problem(m, n, k, false, true, true, 2);
        problem.args.accumulate = true;
        CudaStream stream;
        EXPECT_EQ(problem.on_cuda(stream), problem.before);
    }
}

TEST(CudaGemm, RefusesAnAuxOfAnotherTypeThanTheOperands) {
    Problem<Bf16, float> problem(2, 3, 4, false, true, true, 0);
    GemmArgs args = problem.args;
    Floats aux(6), c(6);
    args.a = problem.a.data();
    args.b = problem.b.data();
    args.c = c.data();
    args.aux = aux.data();
    args.epilogue = Epilogue::kGelu;
    CudaStream stream;
    EXPECT_THROW(gemm(stream, args), ShapeError);
}

}  // namespace
}  // namespace skein::kernels
