#pragma once

#include <cstdint>

#include "model/tensor/operand.h"
#include "model/tensor/stream.h"

/// A hash of a tensor that is the same however the tensor is cut up: the sum, modulo 2^64, of a number for
/// each element that follows from its global index and its bits. Sums of integers are exact in any order, so
/// parts of a tensor are hashed where they lie, by any number of threads, blocks and ranks, and added.
namespace skein::kernels {

/// The finalizer of SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014;
/// the constants are David Stafford's "Mix13" of the finalizer of MurmurHash3): a bijection of 64 bits. T: a
/// std::uint64_t, or a vector of them.
template <class T>
constexpr T digest_mix(T z) {
    z = (z ^ (z >> 30)) * std::uint64_t{0xBF58476D1CE4E5B9};
    z = (z ^ (z >> 27)) * std::uint64_t{0x94D049BB133111EB};
    return z ^ (z >> 31);
}
/// SplitMix64's increment, 2^64 over the golden ratio. Multiples of it up to the 2^30th lie more than 2^32
/// apart, so no two pairs of index and bits of a tensor of so many elements are mixed from the same number.
inline constexpr std::uint64_t kDigestStep = 0x9E3779B97F4A7C15;

/// What an element adds. For one index it is a bijection of the bits: one changed element always shows.
constexpr std::uint64_t digest_term(std::int64_t index, std::uint64_t bits) {
    return digest_mix((static_cast<std::uint64_t>(index) + 1) * kDigestStep + bits);
}

/// *sum += the terms of x's elements, [count], each taken as its bits (of 16 or 32). Element k · run + j,
/// with 0 <= j < run, is the tensor's element first + k · stride + j: so lies a part that is split along one
/// axis.
struct DigestArgs {
    ConstOperand x{};
    std::int64_t count = 0;
    std::int64_t first = 0, run = 1, stride = 1;
    std::uint64_t* sum = nullptr;
};
void digest(CpuStream& stream, const DigestArgs& args);
void digest(CudaStream& stream, const DigestArgs& args);

}  // namespace skein::kernels
