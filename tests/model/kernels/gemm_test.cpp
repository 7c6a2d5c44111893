#include "model/kernels/gemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "model/base/error.h"

namespace skein::kernels {
namespace {

constexpr float kGuard = -12345.5f;

/// Uniform in (-1, 1), or with `integers` one of -4 ... 4; a function of seed and index.
std::vector<float> numbers(std::int64_t count, std::uint64_t seed, bool integers = false) {
    std::vector<float> values(static_cast<std::size_t>(count));
    std::uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
    for (float& value : values) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const auto high = static_cast<std::uint32_t>(state >> 40);
        value = integers ? static_cast<float>(high % 9) - 4.0f : static_cast<float>(high) / 8388608.0f - 1.0f;
    }
    return values;
}

/// A product with operands of its own; leading dimensions are larger than they must be.
struct Problem {
    std::vector<float> a, b, c, bias, aux;
    GemmArgs args;

    Problem(std::int64_t m, std::int64_t n, std::int64_t k, bool transpose_a, bool transpose_b,
            bool integers = false, std::int64_t padding = 3) {
        args.m = m, args.n = n, args.k = k;
        args.transpose_a = transpose_a, args.transpose_b = transpose_b;
        args.lda = (transpose_a ? m : k) + padding;
        args.ldb = (transpose_b ? k : n) + padding;
        args.ldc = n + padding, args.ld_aux = n + 2 * padding;
        a = numbers((transpose_a ? k : m) * args.lda, 1, integers);
        b = numbers((transpose_b ? n : k) * args.ldb, 2, integers);
        c = numbers(m * args.ldc + padding, 3, integers);
        aux = numbers(m * args.ld_aux + padding, 4, integers);
        bias = numbers(n, 5, integers);
        for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = n; j < args.ldc; ++j) c[at(i, j)] = kGuard;
            for (std::int64_t j = n; j < args.ld_aux; ++j) aux[aux_at(i, j)] = kGuard;
        }
        std::fill(c.end() - padding, c.end(), kGuard);
        std::fill(aux.end() - padding, aux.end(), kGuard);
    }
    std::size_t at(std::int64_t i, std::int64_t j) const {
        return static_cast<std::size_t>(i * args.ldc + j);
    }
    std::size_t aux_at(std::int64_t i, std::int64_t j) const {
        return static_cast<std::size_t>(i * args.ld_aux + j);
    }

    /// c after gemm; c and aux themselves if `in_place`.
    void run(int threads) {
        args.a = a.data(), args.b = b.data(), args.c = c.data(), args.aux = aux.data();
        Stream stream(threads);
        stream.run([&](auto& s) { gemm(s, args); });
    }

    double product(std::int64_t i, std::int64_t j) const {
        double sum = 0;
        for (std::int64_t p = 0; p < args.k; ++p) {
            const float x =
                a[static_cast<std::size_t>(args.transpose_a ? p * args.lda + i : i * args.lda + p)];
            const float y =
                b[static_cast<std::size_t>(args.transpose_b ? j * args.ldb + p : p * args.ldb + j)];
            sum += static_cast<double>(x) * y;
        }
        return sum;
    }

    void expect_guards() const {
        for (std::int64_t i = 0; i < args.m; ++i) {
            for (std::int64_t j = args.n; j < args.ldc; ++j) ASSERT_EQ(c[at(i, j)], kGuard);
            for (std::int64_t j = args.n; j < args.ld_aux; ++j) ASSERT_EQ(aux[aux_at(i, j)], kGuard);
        }
        ASSERT_EQ(c.back(), kGuard);
        ASSERT_EQ(aux.back(), kGuard);
    }
};

double gelu(double x) {
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

double gelu_derivative(double x) {
    const double t = std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

/// Rounding of a sum of k products of numbers below 1: each of the k additions errs by at most half a unit in
/// the last place of a partial sum, which is about sqrt(k / 9) at random signs and here bounded by 2 sqrt(k)
/// + 2.
double tolerance(std::int64_t k) {
    const double terms = static_cast<double>(k) + 4;
    return terms * (2 * std::sqrt(terms) + 2) * static_cast<double>(std::numeric_limits<float>::epsilon()) /
           2;
}

void expect_right(Problem problem, int threads) {
    const Problem before = problem;
    problem.run(threads);
    const GemmArgs& g = problem.args;
    SCOPED_TRACE(text("m ", g.m, " n ", g.n, " k ", g.k, " transposed ", g.transpose_a, g.transpose_b,
                      " accumulate ", g.accumulate, " bias ", g.bias != nullptr, " epilogue ",
                      static_cast<int>(g.epilogue)));
    problem.expect_guards();
    const double allowed = tolerance(g.k);
    for (std::int64_t i = 0; i < g.m; ++i) {
        for (std::int64_t j = 0; j < g.n; ++j) {
            double x = before.product(i, j);
            if (g.bias) x += static_cast<double>(problem.bias[static_cast<std::size_t>(j)]);
            if (g.accumulate) x += static_cast<double>(before.c[problem.at(i, j)]);
            const double aux = static_cast<double>(before.aux[problem.aux_at(i, j)]);
            double want = x;
            // gelu and its derivative grow by at most 1.13 times the error of their argument
            if (g.epilogue == Epilogue::kGelu) {
                want = gelu(x);
                ASSERT_NEAR(problem.aux[problem.aux_at(i, j)], x, allowed);
            } else {
                ASSERT_EQ(problem.aux[problem.aux_at(i, j)], before.aux[problem.aux_at(i, j)]);
            }
            if (g.epilogue == Epilogue::kRelu) want = std::max(x, 0.0);
            if (g.epilogue == Epilogue::kGeluBackward) want = x * gelu_derivative(aux);
            if (g.epilogue == Epilogue::kReluBackward) want = aux > 0 ? x : 0.0;
            ASSERT_NEAR(problem.c[problem.at(i, j)], want, 1.5 * allowed) << "at " << i << ", " << j;
        }
    }
}

constexpr bool kLayouts[4][2] = {{false, true}, {false, false}, {true, false}, {true, true}};

TEST(Gemm, MatchesDoublePrecisionForOddShapesInAllLayouts) {
    const std::int64_t shapes[][3] = {{1, 1, 1},    {1, 17, 5},   {2, 33, 400}, {3, 8, 7},      {5, 64, 385},
                                      {6, 16, 16},  {7, 9, 1000}, {12, 40, 31}, {13, 25, 129},  {31, 65, 128},
                                      {97, 49, 33}, {65, 130, 9}, {205, 3, 50}, {128, 128, 128}};
    for (const auto& [m, n, k] : shapes) {
        for (const auto& [transpose_a, transpose_b] : kLayouts) {
            Problem problem(m, n, k, transpose_a, transpose_b);
            expect_right(problem, 2);
            problem.args.accumulate = true;
            expect_right(problem, 1);
        }
    }
}

TEST(Gemm, AppliesBiasAndEveryEpilogueAfterTheLastBlockOfK) {
    const std::int64_t shapes[][3] = {{1, 33, 20}, {8, 24, 800}, {14, 37, 60}, {50, 70, 500}, {101, 16, 0}};
    for (const auto& [m, n, k] : shapes) {
        for (const auto& [transpose_a, transpose_b] : kLayouts) {
            for (const bool biased : {false, true}) {
                for (const Epilogue epilogue : {Epilogue::kNone, Epilogue::kGelu, Epilogue::kRelu,
                                                Epilogue::kGeluBackward, Epilogue::kReluBackward}) {
                    Problem problem(m, n, k, transpose_a, transpose_b);
                    problem.args.epilogue = epilogue;
                    const std::vector<float> bias = problem.bias;
                    if (biased) problem.args.bias = bias.data();
                    expect_right(problem, 2);
                }
            }
        }
    }
}

TEST(Gemm, DropsWhatTheMaskSaysAfterTheEpilogue) {
    const RowPlace place{4, 3, 2, 5, 16};  // a slice of rows and columns
    for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{1, 33, 20}, {14, 37, 500}, {101, 16, 0}}) {
        for (const Epilogue epilogue : {Epilogue::kNone, Epilogue::kGelu, Epilogue::kReluBackward}) {
            Problem problem(m, n, k, false, true);
            problem.args.epilogue = epilogue;
            Problem without = problem;
            without.run(1);
            problem.args.dropout = make_dropout(0.3, {5, 8});
            problem.args.place = place;
            problem.run(2);
            problem.expect_guards();
            EXPECT_EQ(problem.aux, without.aux);
            std::int64_t dropped = 0;
            for (std::int64_t i = 0; i < m; ++i) {
                for (std::int64_t j = 0; j < n; ++j) {
                    const bool kept = keeps(problem.args.dropout, static_cast<std::uint32_t>(place.sample(i)),
                                            static_cast<std::uint32_t>(place.position(i)),
                                            static_cast<std::uint32_t>(place.first_channel + j));
                    const float factor = kept ? problem.args.dropout.scale : 0.0f;
                    ASSERT_EQ(problem.c[problem.at(i, j)], without.c[without.at(i, j)] * factor)
                        << i << ", " << j;
                    dropped += kept ? 0 : 1;
                }
            }
            EXPECT_GT(dropped, 0);
            problem.args.accumulate = true;  // which excludes it
            without.args.accumulate = true;
            problem.c = without.c;
            problem.run(2);
            without.run(1);
            EXPECT_EQ(problem.c, without.c);
        }
    }
}

TEST(Gemm, IsExactForIntegersAlsoAcrossBlocksOfRowsColumnsAndK) {
    const std::int64_t shapes[][3] = {{40, 3100, 70}, {3200, 24, 90}, {20, 50, 5000}, {4, 200, 3000}};
    for (const auto& [m, n, k] : shapes) {
        for (const auto& [transpose_a, transpose_b] : kLayouts) {
            Problem problem(m, n, k, transpose_a, transpose_b, true);
            problem.args.accumulate = true;
            const Problem before = problem;
            problem.run(2);
            problem.expect_guards();
            for (std::int64_t i = 0; i < m; ++i) {
                for (std::int64_t j = 0; j < n; ++j) {
                    const double want = before.product(i, j) + static_cast<double>(before.c[before.at(i, j)]);
                    ASSERT_EQ(problem.c[problem.at(i, j)], want) << i << ", " << j;
                }
            }
        }
    }
}

TEST(Gemm, GivesTheSameBitsOnAnyNumberOfThreads) {
    for (const auto& [m, n, k] :
         {std::array<std::int64_t, 3>{300, 250, 900}, {5, 700, 500}, {130, 20, 2000}, {3200, 40, 65}}) {
        for (const auto& [transpose_a, transpose_b] : kLayouts) {
            Problem problem(m, n, k, transpose_a, transpose_b);
            problem.args.epilogue = Epilogue::kGelu;
            const std::vector<float> bias = problem.bias;
            problem.args.bias = bias.data();
            Problem one = problem;
            one.run(1);
            for (int threads : {2, 3}) {
                Problem more = problem;
                more.run(threads);
                ASSERT_EQ(std::memcmp(one.c.data(), more.c.data(), one.c.size() * sizeof(float)), 0);
                ASSERT_EQ(std::memcmp(one.aux.data(), more.aux.data(), one.aux.size() * sizeof(float)), 0);
            }
        }
    }
}

/// Rows and columns cut out of a product, computed on their own, in other layouts and at other places in
/// memory.
TEST(Gemm, GivesAnElementTheSameBitsInEveryProductThatHoldsIt) {
    for (const std::int64_t k : {40, 384, 1000}) {
        Problem whole(150, 170, k, false, false, false, 0);
        const std::vector<float> bias = whole.bias;
        whole.args.bias = bias.data();
        whole.args.epilogue = Epilogue::kGelu;
        Problem before = whole;
        whole.run(2);
        for (const auto& [row, rows, column, columns] : {std::array<std::int64_t, 4>{0, 1, 0, 170},
                                                         {149, 1, 3, 9},
                                                         {17, 8, 5, 100},
                                                         {20, 12, 161, 9},
                                                         {31, 13, 1, 16},
                                                         {7, 100, 50, 65},
                                                         {0, 150, 169, 1}}) {
            for (const auto& [transpose_a, transpose_b] : kLayouts) {
                Problem part(rows, columns, k, transpose_a, transpose_b);
                for (std::int64_t p = 0; p < k; ++p) {
                    for (std::int64_t i = 0; i < rows; ++i) {
                        const std::int64_t to = transpose_a ? p * part.args.lda + i : i * part.args.lda + p;
                        part.a[static_cast<std::size_t>(to)] =
                            before.a[static_cast<std::size_t>((row + i) * before.args.lda + p)];
                    }
                    for (std::int64_t j = 0; j < columns; ++j) {
                        const std::int64_t to = transpose_b ? j * part.args.ldb + p : p * part.args.ldb + j;
                        part.b[static_cast<std::size_t>(to)] =
                            before.b[static_cast<std::size_t>(p * before.args.ldb + column + j)];
                    }
                }
                part.args.bias = bias.data() + column;
                part.args.epilogue = Epilogue::kGelu;
                part.run(1);
                for (std::int64_t i = 0; i < rows; ++i) {
                    ASSERT_EQ(std::memcmp(&part.c[part.at(i, 0)], &whole.c[whole.at(row + i, column)],
                                          static_cast<std::size_t>(columns) * sizeof(float)),
                              0)
                        << "k " << k << ", " << rows << " rows from " << row << ", " << columns
                        << " columns from " << column << ", transposed " << transpose_a << transpose_b;
                }
            }
        }
    }
}

/// A block of k is added to c in one addition: with one block, accumulating is c plus the product as it
/// stands.
TEST(Gemm, AccumulatesTheProductOfABlockInOneAddition) {
    for (const std::int64_t m : {4, 60}) {
        Problem fresh(m, 50, 200, true, false);
        Problem added = fresh;
        const std::vector<float> start = added.c;
        added.args.accumulate = true;
        fresh.run(2);
        added.run(2);
        for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < 50; ++j)
                ASSERT_EQ(added.c[added.at(i, j)], start[added.at(i, j)] + fresh.c[fresh.at(i, j)]);
        }
    }
}

TEST(Gemm, AsksTheSystemForNoMemoryOnceItsShapesHaveBeenSeen) {
    Problem problem(200, 100, 300, true, true);
    problem.args.a = problem.a.data(), problem.args.b = problem.b.data(), problem.args.c = problem.c.data();
    Stream stream(2);
    const auto call = [&] { stream.run([&](auto& s) { gemm(s, problem.args); }); };
    call();
    const std::uint64_t before = stream.pool().statistics().system_calls;
    for (int i = 0; i < 3; ++i) call();
    EXPECT_EQ(stream.pool().statistics().system_calls, before);
    EXPECT_EQ(stream.pool().statistics().in_use, 0u);
}

TEST(Gemm, SaysWhatItTakesOfThePool) {
    struct Sizes {
        std::int64_t m, n, k;
    };
    for (const auto [m, n, k] : {Sizes{50, 700, 900}, {50, 100, 40}, {3, 100, 40}}) {
        Problem problem(m, n, k, false, true);
        problem.args.a = problem.a.data(), problem.args.b = problem.b.data();
        problem.args.c = problem.c.data();
        Pool pool;
        CpuStream stream{2, &pool};
        gemm(stream, problem.args);
        std::size_t told = 0;
        for (const std::size_t bytes : gemm_scratch(problem.args)) told += bytes;
        EXPECT_EQ(pool.statistics().touched, told) << m;
    }
}

TEST(Gemm, LeavesCAloneWhenThereIsNothingToDo) {
    for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{0, 5, 5}, {5, 0, 5}, {5, 5, 0}}) {
        Problem problem(m, n, k, false, true);
        problem.args.accumulate = true;
        const std::vector<float> before = problem.c;
        problem.run(2);
        EXPECT_EQ(problem.c, before);
    }
}

}  // namespace
}  // namespace skein::kernels
