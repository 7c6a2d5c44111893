#include "checkpoint/staging.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "model/base/error.h"
#include "model/base/parallel_for.h"

namespace skein {

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
            if (from < to) std::memcpy(memory_.get() + from, piece.bytes.data() + (from - at), to - from);
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
