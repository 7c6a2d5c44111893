#include "model/kernels/layer_norm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "model/tensor/pool.h"
#include "tests/model/kernels/layer_norm_pass.h"

namespace skein::kernels {
namespace {

using test::at;
using test::kNormPlace;
using test::NormInputs;
using test::NormOutcome;
using test::NormProblem;

using Floats = std::vector<float>;

NormOutcome<float> run(const NormProblem& p, const NormInputs<float>& v, int threads) {
    Pool pool;
    CpuStream stream{threads, &pool};
    return test::norm_pass(stream, p, v);
}

/// A centred value carries fp32's rounding of the input, some 1e-7 of its size; rstd multiplies that error,
/// in dsum twice.
void check(const NormProblem& p) {
    const NormInputs<float> v = test::norm_inputs(p);
    const NormOutcome<float> found = run(p, v, 1);
    EXPECT_EQ(run(p, v, 2), found);
    EXPECT_EQ(run(p, v, 3), found);
    const double tolerance = 3e-6 * (1.0 + std::abs(static_cast<double>(p.mean)));
    double largest_rstd = 1.0;
    const double start = p.accumulate ? 1.0 : 0.0;
    std::vector<double> dgamma(v.gamma.size()), dbeta(v.gamma.size());
    const auto width = static_cast<double>(p.width);
    for (std::int64_t r = 0; r < p.rows; ++r) {
        std::vector<double> sum(v.gamma.size()), g(v.gamma.size());
        double mean = 0.0, variance = 0.0, g_mean = 0.0, gn_mean = 0.0;
        for (std::int64_t c = 0; c < p.width; ++c) {
            at(sum, c) = static_cast<double>(at(v.x, r * p.width + c));
            const bool kept =
                keeps(p.mask(), static_cast<std::uint32_t>(kNormPlace.sample(r)),
                      static_cast<std::uint32_t>(kNormPlace.position(r)), static_cast<std::uint32_t>(c));
            if (p.residual && kept)
                at(sum, c) += static_cast<double>(at(v.delta, r * p.width + c)) * 65536.0 /
                              (65536.0 - p.mask().threshold);
            mean += at(sum, c) / width;
        }
        for (const double value : sum) variance += (value - mean) * (value - mean) / width;
        const double rstd = 1.0 / std::sqrt(variance + 1e-5);
        for (std::int64_t c = 0; c < p.width; ++c) {
            const double n = (at(sum, c) - mean) * rstd, dy = static_cast<double>(at(v.dy, r * p.width + c));
            const double wanted =
                n * static_cast<double>(at(v.gamma, c)) + (p.bias ? static_cast<double>(at(v.beta, c)) : 0.0);
            ASSERT_NEAR(static_cast<double>(at(found.y, r * p.width + c)), wanted,
                        tolerance * (1.0 + std::abs(wanted)) * (1.0 + rstd));
            at(g, c) = dy * static_cast<double>(at(v.gamma, c));
            g_mean += at(g, c) / width;
            gn_mean += at(g, c) * n / width;
            at(dgamma, c) += dy * n;
            at(dbeta, c) += dy;
        }
        for (std::int64_t c = 0; c < p.width; ++c) {
            const double n = (at(sum, c) - mean) * rstd;
            const double wanted = rstd * (at(g, c) - g_mean - n * gn_mean) +
                                  start * static_cast<double>(at(v.old_sum, r * p.width + c));
            ASSERT_NEAR(static_cast<double>(at(found.dsum, r * p.width + c)), wanted,
                        tolerance * (1.0 + std::abs(wanted)) * (1.0 + rstd) * (1.0 + rstd));
        }
        largest_rstd = std::max(largest_rstd, rstd);
    }
    for (std::int64_t c = 0; c < p.width; ++c) {
        const double scale = tolerance * (std::sqrt(static_cast<double>(p.rows)) + largest_rstd);
        ASSERT_NEAR(static_cast<double>(at(found.dgamma, c)),
                    at(dgamma, c) + start * static_cast<double>(at(v.old_gamma, c)), scale);
        const double old_beta = static_cast<double>(at(v.old_beta, c));
        ASSERT_NEAR(static_cast<double>(at(found.dbeta, c)),
                    p.bias ? at(dbeta, c) + start * old_beta : old_beta, scale);
    }
}

TEST(LayerNorm, MatchesFp64AtOddWidthsWithAndWithoutBiasResidualAndDropout) {
    for (const std::int64_t width : {2, 5, 8, 67})
        for (const bool bias : {false, true})
            for (const bool accumulate : {false, true}) {
                check({70, width, bias, false, accumulate, 0.0, 0.0f});
                check({70, width, bias, true, accumulate, 0.0, 0.0f});
                check({70, width, bias, true, accumulate, 0.25, 0.0f});
            }
}

TEST(LayerNorm, TakesTheVarianceAboutTheMean) {
    // the naive E[x²] - E[x]² would lose five of its seven digits here
    check({9, 50, true, false, false, 0.0, 300.0f});
}

TEST(LayerNorm, OfAConstantRowIsTheShiftAndFinite) {
    CpuStream stream{1, nullptr};
    const Floats x(6, 3.5f), gamma(6, 2.0f), beta{1, 2, 3, 4, 5, 6};
    Floats y(6), mean(1), rstd(1);
    LayerNormArgs args{.rows = 1, .width = 6};
    args.x = x.data();
    args.gamma = gamma.data();
    args.beta = beta.data();
    args.y = y.data();
    args.mean = mean.data();
    args.rstd = rstd.data();
    layer_norm(stream, args);
    EXPECT_EQ(y, beta);
    EXPECT_NEAR(rstd[0], 1.0 / std::sqrt(1e-5), 1e-3);
}

TEST(LayerNorm, OfASliceOfRowsIsTheWholesSlice) {
    const NormProblem p{19, 67, true, true, false, 0.25, 0.0f};
    const NormInputs<float> v = norm_inputs(p);
    Pool pool;
    CpuStream alone{1, &pool};
    const NormOutcome<float> whole = norm_pass(alone, p, v);
    for (const auto& [begin, end] : {std::pair{0, 7}, {7, 12}, {12, 19}, {3, 3}}) {
        const std::int64_t rows = end - begin;
        const auto of_whole = [begin = begin, rows](const Floats& values, std::int64_t width) {
            return Floats(values.begin() + begin * width, values.begin() + (begin + rows) * width);
        };
        const Floats x = of_whole(v.x, p.width), delta = of_whole(v.delta, p.width);
        NormOutcome<float> found;
        found.sum = found.y = Floats(x.size());
        found.mean = found.rstd = Floats(static_cast<std::size_t>(rows));
        LayerNormArgs args{.rows = rows, .width = p.width};
        args.x = x.data();
        args.delta = delta.data();
        args.dropout = p.mask();
        args.place = kNormPlace;
        args.place.first_row += begin;
        args.sum = found.sum.data();
        args.gamma = v.gamma.data();
        args.beta = v.beta.data();
        args.y = found.y.data();
        args.mean = found.mean.data();
        args.rstd = found.rstd.data();
        CpuStream stream{2, nullptr};
        layer_norm(stream, args);
        EXPECT_EQ(found.sum, of_whole(whole.sum, p.width));
        EXPECT_EQ(found.y, of_whole(whole.y, p.width));
        EXPECT_EQ(found.mean, of_whole(whole.mean, 1));
        EXPECT_EQ(found.rstd, of_whole(whole.rstd, 1));
    }
}

}  // namespace
}  // namespace skein::kernels
