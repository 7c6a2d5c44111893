#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstring>

#include "model/base/error.h"

/// portable.cuh for nvcc; include that one.
#define SKEIN_SHARED(Type, name, count) __shared__ alignas(16) Type name[count]

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

/// Queues the kernel. Throws CudaError when CUDA refuses; what goes wrong while it runs comes out of a later
/// call.
template <auto kKernel, class... Arguments>
void launch(Grid grid, int threads, CudaStream& stream, const Arguments&... arguments) {
    if (grid.x <= 0 || grid.y <= 0) return;
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
    kKernel<<<blocks, static_cast<unsigned>(threads), 0, static_cast<cudaStream_t>(stream.handle)>>>(
        arguments...);
    const cudaError_t status = cudaGetLastError();
    if (status != cudaSuccess)
        throw CudaError(text(__PRETTY_FUNCTION__, ": ", cudaGetErrorString(status), ", with ", grid.x, " by ",
                             grid.y, " blocks of ", threads, " threads"));
}

}  // namespace skein::kernels::cuda
