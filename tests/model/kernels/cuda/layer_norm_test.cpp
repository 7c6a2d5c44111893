#include "model/kernels/layer_norm.h"

#include "model/base/error.h"
#include "tests/model/kernels/cuda/shim_test.h"
#include "tests/model/kernels/layer_norm_pass.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

/// The widest row that a block's registers hold.
constexpr std::int64_t kWidestNorm = 16384;

template <class T>
class CudaLayerNorm : public ::testing::Test {};
TYPED_TEST_SUITE(CudaLayerNorm, ElementTypes);

template <class T>
NormInputs<T> in_dtype(const NormInputs<float>& v) {
    return {rounded<T>(v.x), rounded<T>(v.delta), rounded<T>(v.dy), rounded<T>(v.old_sum), v.gamma,
            v.beta,          v.old_gamma,         v.old_beta};
}

template <class T>
NormInputs<float> in_fp32(const NormInputs<T>& v) {
    return {floats(v.x), floats(v.delta), floats(v.dy), floats(v.old_sum),
            v.gamma,     v.beta,          v.old_gamma,  v.old_beta};
}

/// The CPU's, in fp32; its norm and its backward start from the sums that were found, which are compared on
/// their own.
template <class T>
NormOutcome<float> reference(NormProblem p, const NormInputs<T>& v, const NormOutcome<T>& found) {
    Pool pool;
    CpuStream stream{1, &pool};
    NormInputs<float> inputs = in_fp32(v);
    const Floats sum = norm_pass(stream, p, inputs).sum;
    p.residual = false;
    inputs.x = floats(found.sum);
    NormOutcome<float> out = norm_pass(stream, p, inputs);
    out.sum = sum;
    return out;
}

/// Both sum in fp32 in their own order: some 1e-7 of a row's values, which rstd multiplies, in backward
/// twice.
template <class T>
void check(const NormProblem& p) {
    SCOPED_TRACE(::testing::Message() << "width " << p.width << ", residual " << p.residual);
    const NormInputs<T> v = in_dtype<T>(norm_inputs(p));
    const NormOutcome<T> found = in_every_order([&] {
        ShimStream stream;
        return norm_pass(stream, p, v);
    });
    const NormOutcome<float> wanted = reference(p, v, found);
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
