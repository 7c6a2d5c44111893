#pragma once

#include <algorithm>

#include "model/kernels/attention.h"
#include "model/kernels/cuda/portable.cuh"

/// Which head a block of an attention kernel works on, what its queries see, and where its rows lie.
namespace skein::kernels::cuda {

/// Of numbers of blocks and heads, which 32 bits hold: they are divided several times faster than 64.
struct Divided {
    std::int64_t quotient, remainder;
};
__device__ inline Divided divide(std::int64_t x, std::int64_t by) {
    const auto number = static_cast<std::uint32_t>(x), divisor = static_cast<std::uint32_t>(by);
    return {number / divisor, number % divisor};
}

/// What is the same in all lanes of the warp: the compiler learns it, and keeps what is made of it in the
/// warp's registers, of which there are others.
__device__ inline int uniform(int x) {
    return shuffle(x, 0);
}
__device__ inline Divided uniform(Divided x) {
    return {uniform(static_cast<int>(x.quotient)), uniform(static_cast<int>(x.remainder))};
}

/// One query head of one sample, its lengths, and what its queries see.
struct HeadPlace {
    std::int64_t sample, head, key_value_head;
    int queries, keys, offset;
    bool causal;

    __device__ HeadPlace(const AttentionArgs& args, std::int64_t of_sample, std::int64_t of_head)
        : sample(of_sample),
          head(of_head),
          key_value_head(divide(of_head, divide(args.heads, args.key_value_heads).quotient).quotient),
          queries(length(args.query_length, args.query_lengths)),
          keys(length(args.key_length, args.key_lengths)),
          offset(static_cast<int>(args.query_offset)),
          causal(args.causal) {}

    /// The head that stands `further` heads on in the same group.
    __device__ HeadPlace of_head(int further) const {
        HeadPlace place = *this;
        place.head += further;
        return place;
    }

    /// The query sees the keys 0 ... visible - 1.
    __device__ int visible(int query) const {
        const int seen = causal ? std::min(std::max(query + offset + 1, 0), keys) : keys;
        return query < queries ? seen : 0;
    }
    /// The first query that sees the key, perhaps past the last.
    __device__ int first_query(int key) const {
        const int first = causal ? std::max(key - offset, 0) : 0;
        return key < keys ? first : queries;
    }

    /// Where its [query_length] begin in a [batch, heads, query_length] tensor.
    __device__ std::int64_t statistics(const AttentionArgs& args) const {
        return (sample * args.heads + head) * args.query_length;
    }
    /// Where a row begins in a [heads, query_length, key_length] tensor.
    __device__ std::int64_t bias_at(const AttentionArgs& args, int query) const {
        return (head * args.query_length + query) * args.key_length;
    }

  private:
    __device__ int length(std::int64_t padded, const std::int32_t* lengths) const {
        const std::int64_t given = lengths ? lengths[sample] : padded;
        return static_cast<int>(given < 0 ? 0 : given < padded ? given : padded);
    }
};

/// The rows of one head in a packed tensor; T may be const.
template <class T>
struct HeadRows {
    T* data;  ///< channel 0 of the sample's row 0
    std::int64_t stride;
    int width;
    bool aligned;  ///< 16 bytes at a time
    const float* cosines = nullptr;
    const float* sines = nullptr;  ///< of row 0, [rows, width / 2]; null: not turned
};

template <class T>
__device__ inline HeadRows<T> query_rows(const AttentionArgs& args, const HeadPlace& place, void* data,
                                         std::int64_t stride, bool aligned) {
    return {static_cast<T*>(data) + place.sample * args.query_length * stride + place.head * args.head_width,
            stride, static_cast<int>(args.head_width), aligned};
}
template <class T>
__device__ inline HeadRows<T> key_rows(const AttentionArgs& args, const HeadPlace& place, void* data,
                                       std::int64_t stride, bool aligned) {
    return {static_cast<T*>(data) + place.sample * args.key_length * stride +
                place.key_value_head * args.head_width,
            stride, static_cast<int>(args.head_width), aligned};
}
template <class T>
__device__ inline HeadRows<const T> query_rows(const AttentionArgs& args, const HeadPlace& place,
                                               const void* data, std::int64_t stride, bool aligned) {
    const HeadRows<T> rows = query_rows<T>(args, place, const_cast<void*>(data), stride, aligned);
    return {rows.data, rows.stride, rows.width, rows.aligned};
}
template <class T>
__device__ inline HeadRows<const T> key_rows(const AttentionArgs& args, const HeadPlace& place,
                                             const void* data, std::int64_t stride, bool aligned) {
    const HeadRows<T> rows = key_rows<T>(args, place, const_cast<void*>(data), stride, aligned);
    return {rows.data, rows.stride, rows.width, rows.aligned};
}
/// The same rows with the angles of their positions: row 0 is at `position`.
template <class T>
__device__ inline HeadRows<T> turned(const AttentionArgs& args, HeadRows<T> rows, std::int64_t position) {
    const std::int64_t angle = position * (args.head_width / 2);
    rows.cosines = args.rotary_cos ? args.rotary_cos + angle : nullptr;
    rows.sines = args.rotary_cos ? args.rotary_sin + angle : nullptr;
    return rows;
}

/// The same rows of the head that stands `further` heads on in the tensor.
template <class T>
__device__ inline HeadRows<T> of_head(HeadRows<T> rows, int further) {
    rows.data += further * rows.width;
    return rows;
}

}  // namespace skein::kernels::cuda
