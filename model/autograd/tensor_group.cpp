#include "model/autograd/tensor_group.h"

#include <vector>

#include "model/base/error.h"
#include "model/kernels/work.h"
#include "model/tensor/memory.h"

namespace skein {
namespace {

// Slices of any tensor begin on multiples of this many elements where it has no rows.
constexpr std::int64_t kAlignment = 8;

std::int64_t elements_of_a_row(const Tensor& tensor) {
    return tensor.shape()[0] > 0 ? tensor.elements() / tensor.shape()[0] : 0;
}

Shape with_rows(const Shape& shape, std::int64_t rows) {
    std::vector<std::int64_t> extents{rows};
    for (int axis = 1; axis < shape.rank(); ++axis) extents.push_back(shape[axis]);
    return Shape(std::span<const std::int64_t>(extents));
}

}  // namespace

// A message to or from another rank, in the device's memory.
struct TensorGroup::Part {
    int peer;
    std::byte* data;
    std::size_t bytes;
};

void TensorGroup::exchange(Stream& stream, std::span<const Part> send, std::span<const Part> receive,
                           const CallSite& site) {
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    for (const Part& part : send) bytes_sent_ += static_cast<std::int64_t>(part.bytes);
    if (stream.device() == Device::cpu || communicator_.stream()) {
        for (const Part& part : send) outgoing.push_back({part.peer, {part.data, part.bytes}});
        for (const Part& part : receive) incoming.push_back({part.peer, {part.data, part.bytes}});
        last_ = communicator_.start_exchange(outgoing, incoming, site);
        last_.wait();
        return;
    }
    std::vector<BlockRef> staging;
    const auto staged = [&](const Part& part) {
        staging.push_back(stream.host_pool().allocate(part.bytes));
        return std::span(staging.back().get()->data, part.bytes);
    };
    for (const Part& part : send) {
        outgoing.push_back({part.peer, staged(part)});
        stream.run([&](auto& s) { start_download(s, part.data, staging.back().get()->data, part.bytes); });
    }
    for (const Part& part : receive) incoming.push_back({part.peer, staged(part)});
    stream.synchronize();
    communicator_.start_exchange(outgoing, incoming, site).wait();
    for (std::size_t i = 0; i < receive.size(); ++i)
        stream.run([&](auto& s) { upload(s, incoming[i].bytes.data(), receive[i].data, receive[i].bytes); });
}

template <class Cut>
void TensorGroup::scatter_sum(Stream& stream, const Tensor& values, const Cut& cut, const Tensor& sum,
                              const CallSite& site) {
    const std::size_t element = size_of(values.dtype());
    const std::int64_t own_count = cut(rank() + 1) - cut(rank());
    const std::int64_t stride = (own_count + kAlignment - 1) / kAlignment * kAlignment;
    const Tensor others = Tensor::empty(stream, values.dtype(), {size() * stride});
    std::vector<Part> send, receive;
    for (int r = 0; r < size(); ++r) {
        if (r == rank()) continue;
        send.push_back({r, values.raw() + static_cast<std::size_t>(cut(r)) * element,
                        static_cast<std::size_t>(cut(r + 1) - cut(r)) * element});
        receive.push_back({r, others.raw() + static_cast<std::size_t>(r * stride) * element,
                           static_cast<std::size_t>(own_count) * element});
    }
    exchange(stream, send, receive, site);
    kernels::SumPartsArgs args;
    args.count = own_count;
    args.stride = stride;
    args.parts = size();
    args.own = rank();
    args.others = others.operand();
    args.own_part = values.operand() + cut(rank());
    args.y = sum.operand();
    stream.run(work_of(args), [&](auto& s) { kernels::sum_parts(s, args); });
}

template <class Cut>
void TensorGroup::spread(Stream& stream, const Tensor& values, const Cut& cut, const CallSite& site) {
    const std::size_t element = size_of(values.dtype());
    const auto slice = [&](int peer, int r) {
        return Part{peer, values.raw() + static_cast<std::size_t>(cut(r)) * element,
                    static_cast<std::size_t>(cut(r + 1) - cut(r)) * element};
    };
    std::vector<Part> send, receive;
    for (int r = 0; r < size(); ++r) {
        if (r == rank()) continue;
        send.push_back(slice(r, rank()));
        receive.push_back(slice(r, r));
    }
    exchange(stream, send, receive, site);
}

void TensorGroup::all_reduce(Stream& stream, const Tensor& values, std::source_location where) {
    if (size() == 1) return;
    const std::int64_t count = values.elements();
    const auto cut = [&](int r) {
        return r == size() ? count : slice_begin(count, size(), r) / kAlignment * kAlignment;
    };
    const CallSite site{"tensor-parallel all-reduce", where};
    scatter_sum(stream, values, cut, values.view(cut(rank()), {cut(rank() + 1) - cut(rank())}), site);
    spread(stream, values, cut, site);
}

Tensor TensorGroup::all_gather_rows(Stream& stream, const Tensor& slice, std::int64_t rows,
                                    std::source_location where) {
    const std::int64_t begin = slice_begin(rows, size(), rank()),
                       own_rows = slice_begin(rows, size(), rank() + 1) - begin;
    if (slice.shape()[0] != own_rows)
        throw ShapeError(text("all-gather: rank ", rank(), " has ", slice.shape()[0], " of ", rows,
                              " rows, wanted ", own_rows));
    const Tensor whole = Tensor::empty(stream, slice.dtype(), with_rows(slice.shape(), rows));
    const std::int64_t row = elements_of_a_row(whole);
    if (slice.bytes() > 0)
        stream.run(copy_work(slice.bytes()), [&](auto& s) {
            copy_memory(s, slice.raw(),
                        whole.raw() + static_cast<std::size_t>(begin * row) * size_of(slice.dtype()),
                        slice.bytes());
        });
    spread(stream, whole, [&](int r) { return slice_begin(rows, size(), r) * row; },
           {"tensor-parallel all-gather", where});
    return whole;
}

Tensor TensorGroup::reduce_scatter_rows(Stream& stream, const Tensor& whole, std::source_location where) {
    const std::int64_t rows = whole.shape()[0], row = elements_of_a_row(whole);
    const std::int64_t own_rows = slice_begin(rows, size(), rank() + 1) - slice_begin(rows, size(), rank());
    const Tensor slice = Tensor::empty(stream, whole.dtype(), with_rows(whole.shape(), own_rows));
    scatter_sum(stream, whole, [&](int r) { return slice_begin(rows, size(), r) * row; }, slice,
                {"tensor-parallel reduce-scatter", where});
    return slice;
}

Tensor TensorGroup::all_gather(Stream& stream, const Tensor& mine, std::span<const std::int64_t> counts,
                               std::source_location where) {
    std::vector<std::int64_t> cuts{0};
    for (const std::int64_t count : counts) cuts.push_back(cuts.back() + count);
    const auto cut = [&](int r) { return cuts[static_cast<std::size_t>(r)]; };
    if (mine.elements() != cut(rank() + 1) - cut(rank()))
        throw ShapeError(text("all-gather: rank ", rank(), " has ", mine.elements(), " elements, wanted ",
                              cut(rank() + 1) - cut(rank())));
    const Tensor all = Tensor::empty(stream, mine.dtype(), {cuts.back()});
    if (mine.bytes() > 0)
        stream.run(copy_work(mine.bytes()), [&](auto& s) {
            copy_memory(s, mine.raw(),
                        all.raw() + static_cast<std::size_t>(cut(rank())) * size_of(mine.dtype()),
                        mine.bytes());
        });
    spread(stream, all, cut, {"tensor-parallel all-gather", where});
    return all;
}

Tensor TensorGroup::all_gather(Stream& stream, const Tensor& mine, std::source_location where) {
    const std::vector<std::int64_t> counts(static_cast<std::size_t>(size()), mine.elements());
    return all_gather(stream, mine, counts, where);
}

}  // namespace skein
