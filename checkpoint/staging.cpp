#include "checkpoint/staging.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>

#include "model/base/error.h"
#include "model/base/parallel_for.h"

namespace skein {
namespace {

/// As memcpy, but what is written passes the caches by: nobody reads it before the disk does. A store into
/// the cache first reads the line that it goes to, three bytes moved for two, and drives out what the next
/// step needs; memcpy itself spares that only for copies about as large as a cache, which most tensors are
/// not.
void copy_past_caches(std::byte* to, const std::byte* from, std::size_t bytes) {
#ifdef __SSE2__
    constexpr std::size_t kLine = 64, kVectors = kLine / sizeof(__m128i);
    const std::size_t head = std::min(bytes, (kLine - reinterpret_cast<std::uintptr_t>(to) % kLine) % kLine);
    std::memcpy(to, from, head);
    std::size_t at = head;
    for (; at + kLine <= bytes; at += kLine) {
        __m128i line[kVectors];
        std::memcpy(line, from + at, kLine);
        for (std::size_t i = 0; i < kVectors; ++i)
            _mm_stream_si128(reinterpret_cast<__m128i*>(to + at) + i, line[i]);
    }
    std::memcpy(to + at, from + at, bytes - at);
    _mm_sfence();  // whoever is told of the copy sees it
#else
    std::memcpy(to, from, bytes);
#endif
}

}  // namespace

Staging::Staging(std::size_t bytes, int threads)
    : size_(bytes), threads_(threads), memory_(HostMemory().allocate(bytes)) {
    if (!memory_ && bytes > 0) throw std::bad_alloc();
    parallel_for(threads_, threads_, [&](std::int64_t thread) {
        const std::size_t begin = begin_of(static_cast<int>(thread)),
                          end = begin_of(static_cast<int>(thread) + 1);
        std::memset(memory_.get() + begin, 0, end - begin);
    });
}

std::size_t Staging::begin_of(int thread) const {
    constexpr std::size_t kPage = 4096;
    if (thread == threads_) return size_;
    return size_ / static_cast<std::size_t>(threads_) * static_cast<std::size_t>(thread) / kPage * kPage;
}

void Staging::take(std::span<RankPiece> pieces) {
    if (const std::size_t wanted = bytes_of_pieces(pieces); wanted > size_)
        throw CheckpointError(text("save: found room for ", size_, " bytes, wanted ", wanted));
    parallel_for(threads_, threads_, [&](std::int64_t thread) {
        const std::size_t begin = begin_of(static_cast<int>(thread)),
                          end = begin_of(static_cast<int>(thread) + 1);
        std::size_t at = 0;  // of the piece
        for (const RankPiece& piece : pieces) {
            const std::size_t from = std::clamp(begin, at, at + piece.bytes.size()),
                              to = std::clamp(end, at, at + piece.bytes.size());
            if (from < to)
                copy_past_caches(memory_.get() + from, piece.bytes.data() + (from - at), to - from);
            at += piece.bytes.size();
        }
    });
    std::size_t at = 0;
    for (RankPiece& piece : pieces) {
        piece.bytes = {memory_.get() + at, piece.bytes.size()};
        at += piece.bytes.size();
    }
}

std::size_t bytes_of_pieces(std::span<const RankPiece> pieces) {
    std::size_t bytes = 0;
    for (const RankPiece& piece : pieces) bytes += piece.bytes.size();
    return bytes;
}

}  // namespace skein
