#include "model/kernels/digest.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "model/base/parallel_for.h"

namespace skein::kernels {
namespace {

constexpr std::int64_t kBlock = 1 << 16;

using U4 = std::uint64_t __attribute__((vector_size(32)));

U4 load_four(const std::uint32_t* from) {
    std::uint32_t words __attribute__((vector_size(16)));
    std::memcpy(&words, from, sizeof words);
    return __builtin_convertvector(words, U4);
}
U4 load_four(const std::uint16_t* from) {
    std::uint16_t words __attribute__((vector_size(8)));
    std::memcpy(&words, from, sizeof words);
    return __builtin_convertvector(words, U4);
}

/// Of elements that follow each other in the tensor, from `first` on.
template <class Word>
std::uint64_t sum_of_terms(const Word* x, std::int64_t count, std::int64_t first) {
    const std::uint64_t start = (static_cast<std::uint64_t>(first) + 1) * kDigestStep;
    U4 place = {start, start + kDigestStep, start + 2 * kDigestStep, start + 3 * kDigestStep};
    U4 totals = {};
    std::int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
        totals += digest_mix(place + load_four(x + i));
        place += 4 * kDigestStep;
    }
    std::uint64_t total = totals[0] + totals[1] + totals[2] + totals[3];
    for (; i < count; ++i) total += digest_term(first + i, x[i]);
    return total;
}

template <class Word>
void digest_words(CpuStream& stream, const DigestArgs& args) {
    const Word* x = static_cast<const Word*>(args.x.data);
    std::atomic<std::uint64_t> total{0};
    parallel_blocks(stream.threads, args.count, kBlock, [&](std::int64_t begin, std::int64_t end) {
        std::uint64_t of_block = 0;
        while (begin < end) {
            const std::int64_t inside = begin % args.run, count = std::min(end - begin, args.run - inside);
            of_block += sum_of_terms(x + begin, count, args.first + begin / args.run * args.stride + inside);
            begin += count;
        }
        total.fetch_add(of_block, std::memory_order_relaxed);
    });
    *args.sum += total.load();
}

}  // namespace

void digest(CpuStream& stream, const DigestArgs& args) {
    if (size_of(args.x.dtype) == sizeof(std::uint16_t))
        digest_words<std::uint16_t>(stream, args);
    else
        digest_words<std::uint32_t>(stream, args);
}

}  // namespace skein::kernels
