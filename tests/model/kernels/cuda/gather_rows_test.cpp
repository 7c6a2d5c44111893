#include "model/kernels/gather_rows.h"

#include <cstring>

#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

TEST(CudaGatherRows, TakesTheSameRowsAsTheCpuAndLeavesWhatIsBehindThem) {
    struct Shape {
        std::size_t from_stride, to_stride, bytes;
    };
    const std::int64_t rows = 21;
    const std::vector<std::int32_t> which = random_ids(rows, 9, 3);
    // in pieces of 16 bytes and of one
    for (const Shape& shape : {Shape{4, 4, 4}, {64, 64, 48}, {4096, 4112, 4096}, {40, 48, 33}, {16, 16, 0}}) {
        const std::vector<std::int32_t> from = random_ids(9 * 2048, 1 << 30, 4);
        const auto gather = [&](auto&& stream) {
            std::vector<std::int32_t> to(which.size() * 2048, -1);
            gather_rows(stream, {from.data(), shape.from_stride, which.data(), to.data(), shape.to_stride,
                                 shape.bytes, rows});
            return to;
        };
        const auto found = in_every_order([&] { return gather(ShimStream()); });
        EXPECT_EQ(found, gather(CpuStream{2, nullptr}));
        for (std::size_t row = 0; row < which.size(); ++row)
            EXPECT_EQ(std::memcmp(reinterpret_cast<const char*>(found.data()) + row * shape.to_stride,
                                  reinterpret_cast<const char*>(from.data()) +
                                      static_cast<std::size_t>(which[row]) * shape.from_stride,
                                  shape.bytes),
                      0);
    }
}

}  // namespace
}  // namespace skein::kernels::cuda
