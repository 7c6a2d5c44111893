// Fragments of the tensor cores: the kernels' layouts against the shim's, which are the PTX ISA's.
#include "model/kernels/cuda/fragments.cuh"

#include <stdexcept>
#include <string>

#include "tests/model/kernels/cuda/shim_test.h"

namespace skein::kernels::cuda {
namespace {

using namespace test;

template <class T>
class CudaFragments : public ::testing::Test {};
TYPED_TEST_SUITE(CudaFragments, ElementTypes);

/// All [16, 16]: left · rightᵀ, left · right, and (left · rightᵀ) · right.
struct Products {
    Floats transposed, plain, twice;
    friend bool operator==(const Products&, const Products&) = default;
};

__device__ void store(const Sums& sums, int first_column, float* to) {
    for (int i = 0; i < 4; ++i)
        to[(lane_row() + i / 2 * 8) * 16 + first_column + lane_column() + i % 2] = sums.v[i];
}

template <class T>
__global__ void products_kernel(const T* left, const T* right, float* transposed, float* plain,
                                float* twice) {
    constexpr int kStride = 16 + 16 / static_cast<int>(sizeof(T));
    T* const left_tile = reinterpret_cast<T*>(dynamic_shared());
    T* const right_tile = left_tile + 16 * kStride;
    constexpr int kAtOnce = Sixteen<T>::kCount;
    for (int i = thread_index() * kAtOnce; i < 256; i += kWarp * kAtOnce) {
        copy_async<16>(left_tile + i / 16 * kStride + i % 16, left + i, true);
        copy_async<16>(right_tile + i / 16 * kStride + i % 16, right + i, true);
    }
    wait_for_copies();
    sync_threads();
    const RowFragment<T> a = load_rows(left_tile, kStride);
    ColumnFragment<T> columns[2], rows[2];
    load_columns(right_tile, kStride, columns);
    load_columns_of_rows(right_tile, kStride, rows);
    Sums first[2] = {}, second[2] = {}, third[2] = {};
    for (int n = 0; n < 2; ++n) {
        multiply(first[n], a, columns[n]);
        multiply(second[n], a, rows[n]);
    }
    const RowFragment<T> again = rows_of_sums<T>(first[0], first[1]);
    for (int n = 0; n < 2; ++n) {
        multiply(third[n], again, rows[n]);
        store(first[n], n * 8, transposed);
        store(second[n], n * 8, plain);
        store(third[n], n * 8, twice);
    }
}

TYPED_TEST(CudaFragments, MultiplyMatrices) {
    using T = TypeParam;
    // small integers, whose products and sums every type holds exactly
    Floats left(256), right(256);
    const auto ids = random_ids(512, 5, 1);
    for (std::size_t i = 0; i < 256; ++i) {
        left[i] = static_cast<float>(ids[i] - 2);
        right[i] = static_cast<float>(ids[256 + i] - 2);
    }
    const std::vector<T> a = rounded<T>(left), b = rounded<T>(right);
    const Products found = in_every_order([&] {
        CudaStream stream;
        Products out{Floats(256), Floats(256), Floats(256)};
        launch_with_shared<products_kernel<T>>({1, 1}, 32, 4096, stream, a.data(), b.data(),
                                               out.transposed.data(), out.plain.data(), out.twice.data());
        return out;
    });
    const auto product = [](const Floats& x, const Floats& y, bool transposed) {
        Floats out(256);
        for (std::size_t r = 0; r < 16; ++r)
            for (std::size_t c = 0; c < 16; ++c)
                for (std::size_t k = 0; k < 16; ++k)
                    out[r * 16 + c] += x[r * 16 + k] * (transposed ? y[c * 16 + k] : y[k * 16 + c]);
        return out;
    };
    const Floats transposed = product(left, right, true);
    EXPECT_EQ(found.transposed, transposed);
    EXPECT_EQ(found.plain, product(left, right, false));
    EXPECT_EQ(found.twice, product(transposed, right, false));
}

__global__ void copy_kernel(const float* from, float* to, bool waits) {
    SKEIN_SHARED(float, copy, 32);
    copy_async<4>(copy + thread_index(), from + thread_index(), thread_index() % 2 == 0);
    if (waits) wait_for_copies();
    to[thread_index()] = copy[thread_index()];
}

TEST(CudaShim, CopiesAreThereWhenTheyHaveBeenWaitedFor) {
    CudaStream stream;
    const Floats from(32, 3.0f);
    Floats to(32, 5.0f);
    launch<copy_kernel>({1, 1}, 32, stream, from.data(), to.data(), true);
    for (std::int64_t i = 0; i < 32; ++i) EXPECT_EQ(at(to, i), i % 2 == 0 ? 3.0f : 0.0f);
    EXPECT_THROW(launch<copy_kernel>({1, 1}, 32, stream, from.data(), to.data(), false), std::logic_error);
    EXPECT_TRUE(std::isnan(to[0])) << "the copy was there before it was waited for";
}

__global__ void misaligned_matrix_kernel() {
    unsigned r[4];
    load_matrices(r, dynamic_shared() + 8);
}

TEST(CudaShim, RefusesMatricesAndSharedMemoryThatTheDeviceWouldNotTake) {
    CudaStream stream;
    EXPECT_THROW(launch_with_shared<misaligned_matrix_kernel>({1, 1}, 32, 1024, stream), std::logic_error);
    EXPECT_THROW(launch_with_shared<misaligned_matrix_kernel>({1, 1}, 32, kMostDynamicShared + 1, stream),
                 std::logic_error);
}

}  // namespace
}  // namespace skein::kernels::cuda
