#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <source_location>
#include <span>
#include <string>

#include "model/kernels/cuda/portable.cuh"
#include "tests/support/cuda_order.h"
#include "tests/support/cuda_runtime_shim.h"

/// portable.cuh for the host compiler: a kernel's blocks run one after the other, the threads of a block are
/// fibres that change over at barriers and shuffles alone. It is stricter than CUDA, and throws
/// std::logic_error out of the launch where a kernel breaks its rules:
///   - all threads of a block come to the same barrier, and all lanes of a warp to the same shuffle: same
///   place in the
///     source, and none has returned
///   - blocks have a multiple of 32 threads, at most 1024; at most 48 KiB of shared memory, which is
///   undefined (0xFF) when
///     a block starts
///   - at most 163 KiB of dynamic shared memory, as much as was asked for at the launch, undefined likewise
///   - accesses of 16 bytes are aligned
/// The order in which threads run between two barriers is the test's to choose: a kernel that gives other
/// values in another order lacks a barrier.
#define __global__
#define __device__
#define __launch_bounds__(...)
#define SKEIN_UNROLL
#define SKEIN_NO_UNROLL
#define SKEIN_SHARED(Type, name, count)                \
    static ::skein::test::shim::SharedArray name##_of; \
    Type* const name = static_cast<Type*>(name##_of.get(sizeof(Type) * static_cast<std::size_t>(count)))

namespace skein::test::shim {

using Place = std::source_location;

/// The kernels that have been launched, without namespaces: "copy_or_add_kernel<float, Bf16>".
const std::set<std::string>& launched_kernels();

/// One array in shared memory: the same bytes for all threads of a block, undefined at its start.
class SharedArray {
  public:
    /// Fails when the block then has more than 48 KiB.
    void* get(std::size_t bytes);
    void* get_dynamic(std::size_t bytes);

  private:
    struct Free {
        void operator()(void* memory) const;
    };
    std::uint64_t block_ = 0;
    std::size_t bytes_ = 0;
    std::unique_ptr<void, Free> memory_;
};

/// Of the thread that runs.
struct Indices {
    int thread = 0, threads = 0;
    std::int64_t block_x = 0, block_y = 0;
};
extern Indices indices;

void wait_for_block(const Place& place);
/// What each of the warp's 32 lanes brought. Valid until the caller's next call.
std::span<const std::uint64_t, 32> wait_for_warp(std::uint64_t value, const Place& place);

/// `signature`: __PRETTY_FUNCTION__ of a template over the kernel, which names it.
void run(const char* signature, kernels::cuda::Grid grid, int threads, int shared_bytes,
         const std::function<void()>& kernel);
std::byte* dynamic_shared();

/// Copies are made when the thread waits for them: one that it does not wait for shows.
void copy_async(void* to, const void* from, std::size_t bytes, bool exists);
void wait_for_copies();

/// One lane's registers in an mma.sync.m16n8k16, of 16-bit elements in pairs, the lower one in the low half.
struct MmaRegisters {
    const unsigned* a;
    const unsigned* b;
    float* d;
};
/// d += a · b for the warp whose lanes these are: gathers the 16 by 16 and the 16 by 8 matrix from the
/// registers as the PTX ISA lays them out (figures of "Matrix Fragments for mma.m16n8k16 with floating point
/// type"), multiplies them, and spreads the result likewise. Products are exact, sums are fp32 in order of k;
/// the hardware adds in another order and cuts off what it aligns, so its last bits are others.
void multiply_fragments(const std::array<MmaRegisters, 32>& lanes, float (*widen)(unsigned));

[[noreturn]] void fail(const std::string& what);

template <class T>
std::uint64_t to_word(T x) {
    static_assert(sizeof(T) <= 8);
    std::uint64_t word = 0;
    std::memcpy(&word, &x, sizeof x);
    return word;
}
template <class T>
T from_word(std::uint64_t word) {
    T x;
    std::memcpy(&x, &word, sizeof x);
    return x;
}

}  // namespace skein::test::shim

namespace skein::kernels::cuda {

namespace shim = test::shim;

inline int thread_index() {
    return shim::indices.thread;
}
inline int block_threads() {
    return shim::indices.threads;
}
inline std::int64_t block_index() {
    return shim::indices.block_x;
}
inline std::int64_t block_index_y() {
    return shim::indices.block_y;
}

inline void sync_threads(const shim::Place& place = shim::Place::current()) {
    shim::wait_for_block(place);
}

template <class T>
T shuffle(T x, int lane, const shim::Place& place = shim::Place::current()) {
    const auto words = shim::wait_for_warp(shim::to_word(x), place);
    return shim::from_word<T>(words[static_cast<std::size_t>(lane % 32)]);
}
template <class T>
T shuffle_xor(T x, int lanes, const shim::Place& place = shim::Place::current()) {
    const auto words = shim::wait_for_warp(shim::to_word(x), place);
    return shim::from_word<T>(words[static_cast<std::size_t>((thread_index() % 32) ^ (lanes % 32))]);
}
template <class T>
T shuffle_up(T x, int lanes, const shim::Place& place = shim::Place::current()) {
    const auto words = shim::wait_for_warp(shim::to_word(x), place);
    const int from = thread_index() % 32 - lanes;
    return from < 0 ? x : shim::from_word<T>(words[static_cast<std::size_t>(from)]);
}
inline unsigned ballot(bool predicate, const shim::Place& place = shim::Place::current()) {
    const auto words = shim::wait_for_warp(predicate ? 1 : 0, place);
    unsigned lanes = 0;
    for (std::size_t lane = 0; lane < 32; ++lane) lanes |= static_cast<unsigned>(words[lane]) << lane;
    return lanes;
}
inline int popcount(unsigned word) {
    return std::popcount(word);
}
inline void atomic_add(std::int32_t* address, std::int32_t x) {
    *address += x;
}
inline void atomic_add(std::uint64_t* address, std::uint64_t x) {
    *address += x;
}

template <class T>
Sixteen<T> load_sixteen(const T* from) {
    if (reinterpret_cast<std::uintptr_t>(from) % 16 != 0)
        shim::fail("16 bytes are read from an address off a multiple of 16");
    Sixteen<T> values;
    std::memcpy(&values, from, sizeof values);
    return values;
}
template <class T>
void store_sixteen(T* to, const Sixteen<T>& values) {
    if (reinterpret_cast<std::uintptr_t>(to) % 16 != 0)
        shim::fail("16 bytes are written to an address off a multiple of 16");
    std::memcpy(to, &values, sizeof values);
}

template <int kBytes>
void copy_async(void* to, const void* from, bool exists) {
    static_assert(kBytes == 4 || kBytes == 16);
    if (reinterpret_cast<std::uintptr_t>(to) % kBytes != 0 ||
        reinterpret_cast<std::uintptr_t>(from) % kBytes != 0)
        shim::fail("an asynchronous copy is off a multiple of its size");
    shim::copy_async(to, from, kBytes, exists);
}
inline void wait_for_copies() {
    shim::wait_for_copies();
}

template <class T>
float widen(T x) {
    return to_float(x);
}
template <class T>
T narrow(float x) {
    return from_float<T>(x);
}

template <class T>
unsigned narrow_two(float low, float high) {
    return std::uint32_t{from_float<T>(low).bits} | std::uint32_t{from_float<T>(high).bits} << 16;
}
inline float exp2_approximate(float x) {
    return std::exp2(x);
}

template <class T>
void mma_16x8x16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                 const shim::Place& place = shim::Place::current()) {
    const shim::MmaRegisters mine{a, b, d};
    const auto words = shim::wait_for_warp(shim::to_word(&mine), place);
    if (thread_index() % 32 == 0) {
        std::array<shim::MmaRegisters, 32> lanes;
        for (std::size_t lane = 0; lane < 32; ++lane)
            lanes[lane] = *shim::from_word<const shim::MmaRegisters*>(words[lane]);
        shim::multiply_fragments(lanes,
                                 [](unsigned bits) { return to_float(T{static_cast<std::uint16_t>(bits)}); });
    }
    shim::wait_for_warp(0, place);  // lane 0 has written all lanes' registers
}

/// ldmatrix.x4: lane i brings the address of row i % 8 of 8 by 8 matrix i / 8; lane i gets of each matrix the
/// elements 2(i % 4) and 2(i % 4) + 1 of row i / 4, or if transposed of column i / 4.
inline void load_matrices_at(unsigned (&r)[4], const void* row, bool transposed, const shim::Place& place) {
    if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0)
        shim::fail("a row of a matrix is loaded from an address off a multiple of 16");
    const auto rows = shim::wait_for_warp(shim::to_word(row), place);
    const auto element = [&](std::size_t matrix, std::size_t row_of_it, std::size_t column) {
        std::uint16_t bits;
        const auto* from = shim::from_word<const std::uint16_t*>(rows[matrix * 8 + row_of_it]);
        std::memcpy(&bits, from + column, sizeof bits);
        return std::uint32_t{bits};
    };
    const auto lane = static_cast<std::size_t>(thread_index() % 32), along = lane / 4, pair = lane % 4 * 2;
    for (std::size_t matrix = 0; matrix < 4; ++matrix)
        r[matrix] = transposed ? element(matrix, pair, along) | element(matrix, pair + 1, along) << 16
                               : element(matrix, along, pair) | element(matrix, along, pair + 1) << 16;
}
inline void load_matrices(unsigned (&r)[4], const void* row,
                          const shim::Place& place = shim::Place::current()) {
    load_matrices_at(r, row, false, place);
}
inline void load_matrices_transposed(unsigned (&r)[4], const void* row,
                                     const shim::Place& place = shim::Place::current()) {
    load_matrices_at(r, row, true, place);
}

inline std::byte* dynamic_shared() {
    return shim::dynamic_shared();
}

template <auto kKernel, class... Arguments>
void launch_with_shared(Grid grid, int threads, int shared_bytes, CudaStream& stream,
                        const Arguments&... arguments) {
    const char* signature = __PRETTY_FUNCTION__;
    shim::queue_on(stream.handle, [=] {
        shim::run(signature, grid, threads, shared_bytes, [&] { kKernel(arguments...); });
    });
}
template <auto kKernel, class... Arguments>
void launch(Grid grid, int threads, CudaStream& stream, const Arguments&... arguments) {
    launch_with_shared<kKernel>(grid, threads, 0, stream, arguments...);
}

}  // namespace skein::kernels::cuda
