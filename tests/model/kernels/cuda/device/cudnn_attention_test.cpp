#include "tests/model/kernels/cuda/device/cudnn_attention.h"

#include "model/base/error.h"
#include "model/tensor/pool.h"
#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::test {
namespace {

template <class T>
class CudnnAttentionGraph : public ::testing::Test {};
using HalfTypes = ::testing::Types<Bf16, F16>;
TYPED_TEST_SUITE(CudnnAttentionGraph, HalfTypes);

struct Shape {
    std::int64_t batch, queries, keys, heads, width;
    bool causal;
};

/// Queries, keys and values packed as a decoder has them, output and log_sum_exp.
template <class T>
struct Operands {
    std::vector<T> query, key_value, output;
    Floats log_sum_exp;
    kernels::AttentionArgs args;

    explicit Operands(const Shape& s) {
        const std::int64_t row = s.heads * s.width;
        query = rounded<T>(random_floats(s.batch * s.queries * row, 1));
        key_value = rounded<T>(random_floats(s.batch * s.keys * 2 * row, 2));
        output.resize(query.size());
        log_sum_exp.resize(static_cast<std::size_t>(s.batch * s.heads * s.queries));
        args.batch = s.batch, args.query_length = s.queries, args.key_length = s.keys;
        args.heads = args.key_value_heads = s.heads, args.head_width = s.width;
        args.scale = 1.0f / std::sqrt(static_cast<float>(s.width));
        args.causal = s.causal;
        args.query = query.data(), args.query_stride = row;
        args.key = key_value.data(), args.key_stride = 2 * row;
        args.value = key_value.data() + row, args.value_stride = 2 * row;
        args.output = output.data(), args.output_stride = row;
        args.log_sum_exp = log_sum_exp.data();
    }
    Operands(const Operands&) = delete;
    Operands& operator=(const Operands&) = delete;
};

TYPED_TEST(CudnnAttentionGraph, MatchesTheCpuAndGivesTheSameBitsEachTime) {
    using T = TypeParam;
    for (const Shape& shape : {Shape{2, 64, 64, 3, 64, true},
                               {2, 128, 128, 3, 32, true},
                               {3, 77, 77, 2, 64, true},
                               {2, 100, 163, 2, 128, false}}) {
        SCOPED_TRACE(
            text(shape.queries, " by ", shape.keys, ", width ", shape.width, ", causal ", shape.causal));
        Operands<T> found(shape), again(shape), wanted(shape);
        CudnnAttention attention(found.args);
        EXPECT_FALSE(attention.is_nondeterministic());
        Stream stream(Gpu{0}, 1);
        const BlockRef workspace = stream.pool().allocate(attention.workspace_bytes() + 1);
        CudaStream queue;
        attention.run(queue, found.args, workspace.get()->data);
        attention.run(queue, again.args, workspace.get()->data);
        shim::set_order(shim::Order::kForward);  // waits
        EXPECT_EQ(found.output, again.output);
        EXPECT_EQ(found.log_sum_exp, again.log_sum_exp);

        Pool pool;
        CpuStream cpu{1, &pool};
        kernels::attention(cpu, wanted.args);
        for (std::size_t i = 0; i < wanted.output.size(); ++i) {
            // both round the output, and cuDNN the probabilities, of values of at most some 4.5
            const double want = static_cast<double>(to_float(wanted.output[i]));
            ASSERT_NEAR(static_cast<double>(to_float(found.output[i])), want,
                        1e-4 + kRounding<T> * (2.0 * std::abs(want) + 4.5))
                << i;
        }
        // fp32 sums of `width` products and of `keys` exponentials in another order
        for (std::size_t i = 0; i < wanted.log_sum_exp.size(); ++i)
            ASSERT_NEAR(found.log_sum_exp[i], wanted.log_sum_exp[i], 1e-4f) << i;
    }
}

}  // namespace
}  // namespace skein::test
