#include "model/kernels/layer_norm.h"

#include "model/base/error.h"
#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

/// The widest row that a block's registers hold.
constexpr std::int64_t kWidestNorm = 16384;

template <class T>
class CudaLayerNorm : public ::testing::Test {};
TYPED_TEST_SUITE(CudaLayerNorm, ElementTypes);

struct Problem {
    std::int64_t rows, width;
    bool bias, residual, accumulate;
    double dropout;
};

constexpr RowPlace kPlace{4, 3, 2, 5};  // a slice of rows

/// Inputs that T holds, for both devices; gains and biases are fp32 in every dtype.
template <class T>
struct Values {
    Floats x, delta, gamma, beta, dy, old_sum, old_gamma, old_beta;
    explicit Values(const Problem& p)
        : x(random_in<T>(p.rows * p.width, 1)),
          delta(random_in<T>(p.rows * p.width, 2)),
          gamma(random_floats(p.width, 3, 0.5f, 1.0f)),
          beta(random_floats(p.width, 4)),
          dy(random_in<T>(p.rows * p.width, 5)),
          old_sum(random_in<T>(p.rows * p.width, 6)),
          old_gamma(random_floats(p.width, 7)),
          old_beta(random_floats(p.width, 8)) {}
};

template <class T>
struct Outcome {
    std::vector<T> sum, y, dsum;
    Floats mean, rstd, dgamma, dbeta;
    friend bool operator==(const Outcome&, const Outcome&) = default;
};

template <class T>
Outcome<T> run(const Problem& p, const Values<T>& v) {
    ShimStream stream;
    const auto rows = static_cast<std::size_t>(p.rows);
    const std::vector<T> x = rounded<T>(v.x), delta = rounded<T>(v.delta), dy = rounded<T>(v.dy);
    Outcome<T> out{x, x, rounded<T>(v.old_sum), Floats(rows), Floats(rows), v.old_gamma, v.old_beta};
    LayerNormArgs args{.rows = p.rows, .width = p.width};
    args.x = x.data();
    if (p.residual) {
        args.delta = delta.data();
        args.dropout = make_dropout(p.dropout, {5, 8});
        args.place = kPlace;
        args.sum = out.sum.data();
    }
    args.gamma = v.gamma.data();
    if (p.bias) args.beta = v.beta.data();
    args.y = out.y.data();
    args.mean = out.mean.data();
    args.rstd = out.rstd.data();
    layer_norm(stream, args);

    LayerNormBackwardArgs back{.rows = p.rows, .width = p.width};
    back.sum = out.sum.data();
    back.gamma = v.gamma.data();
    back.mean = out.mean.data();
    back.rstd = out.rstd.data();
    back.dy = dy.data();
    back.dsum = out.dsum.data();
    back.dgamma = out.dgamma.data();
    if (p.bias) back.dbeta = out.dbeta.data();
    back.accumulate_sum = back.accumulate_gamma = back.accumulate_beta = p.accumulate;
    layer_norm_backward(stream, back);
    return out;
}

/// The CPU's, in fp32; its backward and its norm start from the sums that were found, which are compared on
/// their own.
template <class T>
Outcome<float> reference(const Problem& p, const Values<T>& v, const Outcome<T>& found) {
    Pool pool;
    CpuStream stream{1, &pool};
    const Floats sum = floats(found.sum);
    Outcome<float> out{v.x, v.x, v.old_sum, found.mean, found.rstd, v.old_gamma, v.old_beta};
    Floats y(v.x.size());
    LayerNormArgs args{.rows = p.rows, .width = p.width};
    args.x = v.x.data();
    args.gamma = v.gamma.data();
    if (p.bias) args.beta = v.beta.data();
    args.y = y.data();
    if (p.residual) {
        args.delta = v.delta.data();
        args.dropout = make_dropout(p.dropout, {5, 8});
        args.place = kPlace;
        args.sum = out.sum.data();
        layer_norm(stream, args);
        args.delta = nullptr;
    }
    args.x = sum.data();
    args.y = out.y.data();
    args.mean = out.mean.data();
    args.rstd = out.rstd.data();
    layer_norm(stream, args);

    LayerNormBackwardArgs back{.rows = p.rows, .width = p.width};
    back.sum = sum.data();
    back.gamma = v.gamma.data();
    back.mean = out.mean.data();
    back.rstd = out.rstd.data();
    back.dy = v.dy.data();
    back.dsum = out.dsum.data();
    back.dgamma = out.dgamma.data();
    if (p.bias) back.dbeta = out.dbeta.data();
    back.accumulate_sum = back.accumulate_gamma = back.accumulate_beta = p.accumulate;
    layer_norm_backward(stream, back);
    return out;
}

/// Both sum in fp32 in their own order: some 1e-7 of a row's values, which rstd multiplies, in backward
/// twice.
template <class T>
void check(const Problem& p) {
    SCOPED_TRACE(::testing::Message() << "width " << p.width << ", residual " << p.residual);
    const Values<T> v(p);
    const Outcome<T> found = in_every_order([&] { return run(p, v); });
    const Outcome<float> wanted = reference(p, v, found);
    EXPECT_EQ(found.sum, rounded<T>(wanted.sum));
    double largest_rstd = 1.0;
    for (const float rstd : wanted.rstd) largest_rstd = std::max(largest_rstd, static_cast<double>(rstd));
    expect_near(found.mean, wanted.mean, 1e-6);
    expect_near(found.rstd, wanted.rstd, 1e-6 * largest_rstd);
    expect_near(found.y, wanted.y, 2e-6 * largest_rstd);
    expect_near(found.dsum, wanted.dsum, 4e-6 * largest_rstd * largest_rstd);
    const double over_rows = 2e-6 * (std::sqrt(static_cast<double>(p.rows)) + largest_rstd);
    expect_near(found.dgamma, wanted.dgamma, over_rows);
    expect_near(found.dbeta, wanted.dbeta, over_rows);
}

TYPED_TEST(CudaLayerNorm, MatchesTheCpuForwardAndBackward) {
    for (const std::int64_t width : {2, 5, 8, 67, 264, 768})
        for (const bool accumulate : {false, true}) {
            check<TypeParam>({37, width, accumulate, false, accumulate, 0.0});
            check<TypeParam>({37, width, true, true, accumulate, 0.0});
            check<TypeParam>({37, width, true, true, accumulate, 0.25});
        }
}

TYPED_TEST(CudaLayerNorm, MatchesTheCpuWhereAThreadHoldsFourEights) {
    check<TypeParam>({3, 4100, true, true, false, 0.1});
    check<TypeParam>({2, kWidestNorm, true, true, true, 0.1});
}

TYPED_TEST(CudaLayerNorm, AddsPartsOfPartsOverManyRows) {
    check<TypeParam>({16 * 256 + 5, 8, true, false, false, 0.0});
}

TEST(CudaLayerNormShape, RefusesARowThatItsThreadsCannotHold) {
    ShimStream stream;
    LayerNormArgs args{.rows = 1, .width = kWidestNorm + 1};
    EXPECT_THROW(layer_norm(stream, args), ShapeError);
}

}  // namespace
}  // namespace skein::kernels::cuda
