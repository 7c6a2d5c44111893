#pragma once

#include <cstdint>

#include "model/tensor/cuda_stream.h"
#include "model/tensor/float16.h"

/// What a kernel takes from the device it runs on. nvcc gets CUDA's own; the host compiler gets a shim of the
/// tests in which a thread of a block is a fibre, so that the same source runs, and is tested, on a machine
/// without a GPU. In both:
///
/// - __global__, __device__, __launch_bounds__(threads)
/// - SKEIN_SHARED(type, name, count): an array in the block's shared memory, aligned to 16 bytes, contents
///   undefined
/// - thread_index(), block_threads(): blocks are one-dimensional, of a multiple of 32 threads
/// - block_index(), block_index_y()
/// - sync_threads(): the barrier of a block; all of its threads come to the same one
/// - shuffle(x, lane), shuffle_xor(x, lanes), shuffle_up(x, lanes), ballot(predicate): all 32 lanes of a warp
///   together
/// - popcount(word), atomic_add(address, x) on integers
/// - load_sixteen(from), store_sixteen(to, values): 16 aligned bytes in one access
/// - widen(x), narrow<T>(x): float, Bf16 and F16 to and from float; narrow_two<T>(low, high): two elements in
///   a word; exp2_approximate(x)
/// - launch<kernel>(grid, threads, stream, arguments...)
/// - launch_with_shared<kernel>(grid, threads, bytes, stream, arguments...), dynamic_shared(): shared memory
///   beyond 48 KiB, up to kMostDynamicShared: a pointer to it, aligned to 16 bytes, contents undefined
/// - SKEIN_UNROLL, SKEIN_NO_UNROLL: before a loop that must be unrolled, as it indexes what is to stay in
///   registers, and one that must not, as its body is long
/// - copy_async<bytes>(to, from, exists), wait_for_copies(): 4 or 16 bytes, aligned, to shared memory, while
///   the thread goes on: there for it when it has waited, for the block after the barrier that follows
/// - mma_16x8x16<T>(d, a, b), load_matrices(r, row), load_matrices_transposed(r, row): a warp's tensor core
///   and ldmatrix.x4 (fragments.cuh)
///
/// Kernels are compiled without contraction: a multiplication and an addition are rounded twice unless fmaf
/// is written.
namespace skein::kernels::cuda {

/// The blocks of a launch; with none, nothing is launched.
struct Grid {
    std::int64_t x = 1, y = 1;
};

/// Bytes of dynamic shared memory that a block may have on every architecture from sm_80 on.
inline constexpr int kMostDynamicShared = 163 << 10;

/// 16 bytes of elements.
template <class T>
struct alignas(16) Sixteen {
    static constexpr int kCount = 16 / static_cast<int>(sizeof(T));
    T v[kCount];
};

}  // namespace skein::kernels::cuda

#if defined(__CUDACC__)
#include "model/kernels/cuda/nvcc.cuh"
#else
#include <cuda_shim.h>
#endif
