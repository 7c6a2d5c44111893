#include "model/kernels/cuda/activation.h"

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

constexpr RowPlace kPlace{4, 3, 2};
constexpr std::int64_t kRows = 13;

/// The CPU fuses bias and activation with the product: here with that of the identity, which changes no
/// value.
Floats identity(std::int64_t width) {
    Floats out(static_cast<std::size_t>(width * width));
    for (std::int64_t i = 0; i < width; ++i) at(out, i * width + i) = 1.0f;
    return out;
}

Floats cpu_product(const Floats& x, std::int64_t width, const Floats* bias, Epilogue epilogue, Floats& aux,
                   const Dropout& dropout) {
    Pool pool;
    CpuStream stream{1, &pool};
    const Floats one = identity(width);
    Floats y(x.size());
    GemmArgs args{.m = kRows, .n = width, .k = width};
    args.a = x.data();
    args.b = one.data();
    args.c = y.data();
    args.lda = args.ldb = args.ldc = args.ld_aux = width;
    args.bias = bias ? bias->data() : nullptr;
    args.epilogue = epilogue;
    args.aux = aux.data();
    gemm(stream, args);
    if (dropout) kernels::apply_dropout(stream, dropout, kPlace, kRows, width, y.data(), y.data());
    return y;
}

template <class T>
struct Outcome {
    std::vector<T> kept, y, dx;
    friend bool operator==(const Outcome&, const Outcome&) = default;
};

template <class T>
void check(Activation activation, std::int64_t width, bool with_bias, double probability) {
    const Dropout dropout = make_dropout(probability, {5, 8});
    const Floats x = random_in<T>(kRows * width, 1), bias = random_in<T>(width, 2),
                 dy = random_in<T>(kRows * width, 3);
    const bool gelu = activation == Activation::kGelu;
    const auto found = in_every_order([&] {
        CudaStream stream;
        const std::vector<T> offset = rounded<T>(bias), gradient = rounded<T>(dy);
        Outcome<T> out{rounded<T>(x), std::vector<T>(x.size()), std::vector<T>(x.size())};
        BiasActivationArgs<T> args{.rows = kRows, .width = width, .activation = activation};
        args.x = out.kept.data();
        if (with_bias) args.bias = offset.data();
        args.dropout = dropout;
        args.place = kPlace;
        args.y = out.y.data();
        bias_activation(stream, args);
        ActivationBackwardArgs<T> back{.rows = kRows, .width = width, .activation = activation};
        back.dy = gradient.data();
        back.kept = gelu ? out.kept.data() : out.y.data();
        back.dropout = dropout;
        back.place = kPlace;
        back.dx = out.dx.data();
        activation_backward(stream, back);
        return out;
    });

    Floats aux(x.size());
    const Floats* offset = with_bias ? &bias : nullptr;
    Floats y = cpu_product(x, width, offset, gelu ? Epilogue::kGelu : Epilogue::kRelu, aux, dropout);
    if (gelu) {
        EXPECT_EQ(found.kept, rounded<T>(aux));
        // in 16 bits the value that is kept is the one that is activated
        const Floats kept = floats(found.kept);
        Floats unused(x.size());
        y = cpu_product(kept, width, nullptr, Epilogue::kGelu, unused, dropout);
    }
    EXPECT_EQ(found.y, rounded<T>(y));
    Floats kept = gelu ? floats(found.kept) : floats(found.y);
    const Floats dx = cpu_product(dy, width, nullptr,
                                  gelu ? Epilogue::kGeluBackward : Epilogue::kReluBackward, kept, dropout);
    EXPECT_EQ(found.dx, rounded<T>(dx));
}

TYPED_TEST(CudaActivation, ForwardAndBackwardHaveTheCpusBits) {
    for (const Activation activation : {Activation::kGelu, Activation::kRelu})
        for (const std::int64_t width : {3, 8, 77, 128})
            for (const bool with_bias : {false, true}) {
                check<TypeParam>(activation, width, with_bias, 0.0);
                check<TypeParam>(activation, width, with_bias, 0.2);
            }
}

}  // namespace
}  // namespace skein::kernels::cuda
