#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstring>
#include <type_traits>

#include "model/base/error.h"

/// portable.cuh for nvcc; include that one.
#define SKEIN_SHARED(Type, name, count) __shared__ alignas(16) Type name[count]
#define SKEIN_UNROLL _Pragma("unroll")
#define SKEIN_NO_UNROLL _Pragma("unroll 1")

namespace skein::kernels::cuda {

__device__ inline int thread_index() {
    return static_cast<int>(threadIdx.x);
}
__device__ inline int block_threads() {
    return static_cast<int>(blockDim.x);
}
__device__ inline std::int64_t block_index() {
    return blockIdx.x;
}
__device__ inline std::int64_t block_index_y() {
    return blockIdx.y;
}

__device__ inline void sync_threads() {
    __syncthreads();
}
__device__ inline std::byte* dynamic_shared() {
    extern __shared__ uint4 skein_dynamic_shared[];
    return reinterpret_cast<std::byte*>(skein_dynamic_shared);
}

inline constexpr unsigned kAllLanes = 0xFFFFFFFFu;
template <class T>
__device__ inline T shuffle(T x, int lane) {
    return __shfl_sync(kAllLanes, x, lane);
}
template <class T>
__device__ inline T shuffle_xor(T x, int lanes) {
    return __shfl_xor_sync(kAllLanes, x, lanes);
}
/// The first `lanes` lanes keep their own.
template <class T>
__device__ inline T shuffle_up(T x, int lanes) {
    return __shfl_up_sync(kAllLanes, x, static_cast<unsigned>(lanes));
}
__device__ inline unsigned ballot(bool predicate) {
    return __ballot_sync(kAllLanes, predicate);
}
__device__ inline int popcount(unsigned word) {
    return __popc(word);
}
__device__ inline void atomic_add(std::int32_t* address, std::int32_t x) {
    atomicAdd(address, x);
}
__device__ inline void atomic_add(std::uint64_t* address, std::uint64_t x) {
    static_assert(sizeof(unsigned long long) == sizeof x);
    atomicAdd(reinterpret_cast<unsigned long long*>(address), static_cast<unsigned long long>(x));
}

template <class T>
__device__ inline Sixteen<T> load_sixteen(const T* from) {
    const uint4 bytes = *reinterpret_cast<const uint4*>(from);
    Sixteen<T> values;
    memcpy(&values, &bytes, sizeof values);
    return values;
}
template <class T>
__device__ inline void store_sixteen(T* to, const Sixteen<T>& values) {
    uint4 bytes;
    memcpy(&bytes, &values, sizeof bytes);
    *reinterpret_cast<uint4*>(to) = bytes;
}

/// 4 or 16 bytes to shared memory; zeros if they do not exist, and then nothing is read.
template <int kBytes>
__device__ inline void copy_async(void* to, const void* from, bool exists) {
    const auto target = static_cast<unsigned>(__cvta_generic_to_shared(to));
    const std::size_t source = __cvta_generic_to_global(from);
    const int size = exists ? kBytes : 0;
    if constexpr (kBytes == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(size)
                     : "memory");
    } else {
        static_assert(kBytes == 4);
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(target), "l"(source), "r"(size)
                     : "memory");
    }
}
__device__ inline void wait_for_copies() {
    asm volatile("cp.async.wait_all;" ::: "memory");
}

__device__ inline float widen(float x) {
    return x;
}
__device__ inline float widen(Bf16 x) {
    return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
}
__device__ inline float widen(F16 x) {
    return __half2float(__ushort_as_half(x.bits));
}

template <class T>
__device__ inline T narrow(float x);
template <>
__device__ inline float narrow<float>(float x) {
    return x;
}
template <>
__device__ inline Bf16 narrow<Bf16>(float x) {
    return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
}
template <>
__device__ inline F16 narrow<F16>(float x) {
    return {__half_as_ushort(__float2half_rn(x))};
}

template <class T>
__device__ inline unsigned narrow_two(float low, float high) {
    unsigned word;
    if constexpr (std::is_same_v<T, Bf16>) {
        const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
        memcpy(&word, &two, sizeof word);
    } else {
        const __half2 two = __floats2half2_rn(low, high);
        memcpy(&word, &two, sizeof word);
    }
    return word;
}

__device__ inline float exp2_approximate(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/// mma.sync.m16n8k16 of Bf16 or F16, fragments as the PTX ISA has them.
template <class T>
__device__ inline void mma_16x8x16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    if constexpr (std::is_same_v<T, Bf16>) {
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
            "{%0,%1,%2,%3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else {
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
            "{%0,%1,%2,%3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
}
__device__ inline void load_matrices(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
                 : "memory");
}
__device__ inline void load_matrices_transposed(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
                 : "memory");
}

/// Bytes of shared memory that a block may have on this thread's device, static ones included.
inline int most_dynamic_shared() {
    int device = 0, bytes = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess) {
        cudaGetLastError();
        return kMostDynamicShared;
    }
    return bytes;
}

inline void throw_if_refused(cudaError_t status, const char* kernel, Grid grid, int threads, int shared) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // it is not to come out of the next launch as well
    throw CudaError(text(kernel, ": ", cudaGetErrorString(status), ", with ", grid.x, " by ", grid.y,
                         " blocks of ", threads, " threads and ", shared, " bytes of dynamic shared memory"));
}

/// Queues the kernel. Throws CudaError when CUDA refuses; what goes wrong while it runs comes out of a later
/// call.
template <auto kKernel, class... Arguments>
void launch_with_shared(Grid grid, int threads, int shared_bytes, CudaStream& stream,
                        const Arguments&... arguments) {
    if (grid.x <= 0 || grid.y <= 0) return;
    if (shared_bytes > 48 << 10)  // what a kernel may have without asking
        throw_if_refused(
            cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes),
            __PRETTY_FUNCTION__, grid, threads, shared_bytes);
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
    kKernel<<<blocks, static_cast<unsigned>(threads), static_cast<std::size_t>(shared_bytes),
              static_cast<cudaStream_t>(stream.handle)>>>(arguments...);
    throw_if_refused(cudaGetLastError(), __PRETTY_FUNCTION__, grid, threads, shared_bytes);
}

template <auto kKernel, class... Arguments>
void launch(Grid grid, int threads, CudaStream& stream, const Arguments&... arguments) {
    launch_with_shared<kKernel>(grid, threads, 0, stream, arguments...);
}

}  // namespace skein::kernels::cuda
