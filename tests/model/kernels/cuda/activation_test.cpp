#include "model/kernels/cuda/activation.h"

#include <algorithm>
#include <utility>

#include "model/kernels/elementwise.h"
#include "model/kernels/gemm.h"
#include "model/tensor/pool.h"
#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

template <class T>
class CudaActivation : public ::testing::Test {};
TYPED_TEST_SUITE(CudaActivation, ElementTypes);

constexpr RowPlace kPlace{4, 3, 2, 5, 16};  // a slice of rows and columns
constexpr std::int64_t kRows = 13;

/// The CPU does it at the end of a product: here that of the identity, which changes no value.
Floats cpu_product(const Floats& x, std::int64_t width, const Floats* bias, Epilogue epilogue, Floats& aux,
                   const Dropout& dropout) {
    Pool pool;
    CpuStream stream{1, &pool};
    Floats one(static_cast<std::size_t>(width * width));
    for (std::int64_t i = 0; i < width; ++i) at(one, i * width + i) = 1.0f;
    Floats y(x.size());
    GemmArgs args{.m = kRows, .n = width, .k = width};
    args.a = x.data();
    args.b = one.data();
    args.c = y.data();
    args.lda = args.ldb = args.ldc = args.ld_aux = width;
    args.bias = bias ? bias->data() : nullptr;
    args.epilogue = epilogue;
    args.aux = aux.data();
    args.dropout = dropout;
    args.place = kPlace;
    gemm(stream, args);
    return y;
}

/// Rows of `width` with `padding` elements of 7 between them.
template <class T>
std::vector<T> padded(const Floats& rows, std::int64_t width, std::int64_t padding) {
    Floats out(static_cast<std::size_t>(kRows * (width + padding)), 7.0f);
    for (std::int64_t r = 0; r < kRows; ++r)
        std::copy_n(rows.begin() + r * width, width, out.begin() + r * (width + padding));
    return rounded<T>(out);
}

template <class T, class Aux>
void check(Epilogue epilogue, std::int64_t width, bool with_bias, double probability, std::int64_t padding) {
    const Dropout dropout = make_dropout(probability, {5, 8});
    const Floats x = random_in<T>(kRows * width, 1), bias = random_floats(width, 2);
    const std::int64_t bias_at =
        padding == 8 ? 1 : 0;  // off a multiple of 16 bytes, where all else is on one
    Floats moved_bias(static_cast<std::size_t>(bias_at));
    moved_bias.insert(moved_bias.end(), bias.begin(), bias.end());
    Floats aux = random_in<Aux>(kRows * width, 3);
    const auto found = in_every_order([&] {
        CudaStream stream;
        std::pair out(padded<T>(x, width, padding), padded<Aux>(aux, width, 2 * padding));
        ActivationArgs<T, Aux> args{.rows = kRows, .width = width, .epilogue = epilogue};
        args.x = args.y = out.first.data();
        args.x_stride = args.y_stride = width + padding;
        if (with_bias) args.bias = moved_bias.data() + bias_at;
        args.aux = out.second.data();
        args.aux_stride = width + 2 * padding;
        args.dropout = dropout;
        args.place = kPlace;
        activation(stream, args);
        return out;
    });
    const Floats y = cpu_product(x, width, with_bias ? &bias : nullptr, epilogue, aux, dropout);
    EXPECT_EQ(found.first, padded<T>(y, width, padding));
    EXPECT_EQ(found.second, padded<Aux>(aux, width, 2 * padding));
}

TYPED_TEST(CudaActivation, HasTheCpusBitsRoundedOnce) {
    for (const Epilogue epilogue : {Epilogue::kNone, Epilogue::kGelu, Epilogue::kRelu,
                                    Epilogue::kGeluBackward, Epilogue::kReluBackward})
        for (const std::int64_t width : {3, 8, 77, 128})
            for (const bool with_bias : {false, true})
                for (const std::int64_t padding : {0, 5, 8}) {
                    check<TypeParam, TypeParam>(epilogue, width, with_bias, 0.0, padding);
                    check<TypeParam, TypeParam>(epilogue, width, with_bias, 0.2, padding);
                    check<float, TypeParam>(epilogue, width, with_bias, 0.0, padding);
                }
}

TYPED_TEST(CudaActivation, OfNothingIsThatOfTheBias) {
    const std::int64_t width = 11;
    const Floats bias = random_floats(width, 2), zeros(static_cast<std::size_t>(kRows * width));
    const auto found = in_every_order([&] {
        CudaStream stream;
        std::vector<TypeParam> y(zeros.size());
        ActivationArgs<TypeParam, TypeParam> args{.rows = kRows, .width = width, .epilogue = Epilogue::kGelu};
        args.bias = bias.data();
        args.y = y.data();
        args.y_stride = width;
        activation(stream, args);
        return y;
    });
    Floats aux(zeros.size());
    EXPECT_EQ(found, rounded<TypeParam>(cpu_product(zeros, width, &bias, Epilogue::kGelu, aux, {})));
}

}  // namespace
}  // namespace skein::kernels::cuda
