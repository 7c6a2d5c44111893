#include "model/kernels/digest.h"

#include <algorithm>

#include "model/kernels/cuda/eight.cuh"
#include "model/kernels/cuda/reduce.cuh"

namespace skein::kernels {
namespace cuda {

inline constexpr int kDigestThreads = 256;
inline constexpr std::int64_t kDigestBlock = 8 * 8 * kDigestThreads;  ///< elements

/// A block sums its elements' terms, an eight a thread at a time, and adds them atomically: integers.
template <class Word>
__global__ void __launch_bounds__(kDigestThreads) digest_kernel(DigestArgs args, bool aligned) {
    const Word* x = static_cast<const Word*>(args.x.data);
    const std::int64_t begin = block_index() * kDigestBlock, end = std::min(args.count, begin + kDigestBlock);
    std::uint64_t total = 0;
    for (std::int64_t at = begin + thread_index() * std::int64_t{8}; at < end; at += kDigestThreads * 8) {
        Word words[8];
        if (aligned && at + 8 <= end) {
            for (int part = 0; part < 8; part += Sixteen<Word>::kCount) {
                const Sixteen<Word> some = load_sixteen(x + at + part);
                for (int i = 0; i < Sixteen<Word>::kCount; ++i) words[part + i] = some.v[i];
            }
        } else {
            for (int i = 0; i < 8; ++i) words[i] = at + i < end ? x[at + i] : Word{0};
        }
        std::int64_t inside = at % args.run, index = args.first + at / args.run * args.stride + inside;
        for (int i = 0; i < 8; ++i) {
            if (at + i < end) total += digest_term(index, words[i]);
            ++index;
            if (++inside < args.run) continue;
            inside = 0;
            index += args.stride - args.run;
        }
    }
    total = block_sum(total);
    if (thread_index() == 0) atomic_add(args.sum, total);
}

template <class Word>
void digest_words(CudaStream& stream, const DigestArgs& args) {
    launch<digest_kernel<Word>>({divide_up(args.count, kDigestBlock), 1}, kDigestThreads, stream, args,
                                rows_are_aligned(8, args.x.data));
}

}  // namespace cuda

void digest(CudaStream& stream, const DigestArgs& args) {
    if (args.count == 0) return;
    if (size_of(args.x.dtype) == sizeof(std::uint16_t))
        cuda::digest_words<std::uint16_t>(stream, args);
    else
        cuda::digest_words<std::uint32_t>(stream, args);
}

}  // namespace skein::kernels
