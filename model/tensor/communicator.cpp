#include "model/tensor/communicator.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "model/base/error.h"

namespace skein {
namespace {

// Below this a reduction sends everything to everyone in one round; above it, slices in two. The bits are the
// same.
constexpr std::size_t kOneRoundBytes = 1 << 14;
// Below this the root of a broadcast sends everything itself; above it, one slice to each, which they share.
constexpr std::size_t kDirectBroadcastBytes = 1 << 16;

void check_count(const char* operation, std::size_t found, int wanted) {
    if (found != static_cast<std::size_t>(wanted))
        throw ShapeError(text(operation, ": ", found, " spans, wanted one for each of ", wanted, " ranks"));
}

void check_own(const char* operation, std::size_t sent, std::size_t expected) {
    if (sent != expected)
        throw ShapeError(text(operation, ": a rank sends itself ", sent, " bytes and expects ", expected));
}

template <class T>
void combine(Reduction reduction, const T* source, T* target, std::int64_t count) {
    switch (reduction) {
        case Reduction::kSum:
            for (std::int64_t i = 0; i < count; ++i) target[i] += source[i];
            break;
        case Reduction::kMin:
            for (std::int64_t i = 0; i < count; ++i) target[i] = std::min(target[i], source[i]);
            break;
        case Reduction::kMax:
            for (std::int64_t i = 0; i < count; ++i) target[i] = std::max(target[i], source[i]);
            break;
    }
}

// `parts` are the ranks' values, one after the other; the first becomes the combination of all.
template <class T>
void combine_in_order(Reduction reduction, std::vector<T>& parts, std::size_t count) {
    for (std::size_t at = count; at < parts.size(); at += count)
        combine(reduction, parts.data() + at, parts.data(), static_cast<std::int64_t>(count));
}

// `count` elements for each of `ranks`, as spans of bytes.
template <class T>
std::vector<std::span<std::byte>> rows(std::vector<T>& values, std::size_t count, int ranks) {
    std::vector<std::span<std::byte>> spans(static_cast<std::size_t>(ranks));
    for (std::size_t r = 0; r < spans.size(); ++r)
        spans[r] = std::as_writable_bytes(std::span(values).subspan(r * count, count));
    return spans;
}

// The slices of `values`, one for each rank.
template <class Span>
std::vector<Span> slices(Span values, int ranks) {
    const auto n = static_cast<std::int64_t>(values.size());
    std::vector<Span> spans(static_cast<std::size_t>(ranks));
    for (int r = 0; r < ranks; ++r) {
        const std::int64_t begin = slice_begin(n, ranks, r);
        spans[static_cast<std::size_t>(r)] = values.subspan(
            static_cast<std::size_t>(begin), static_cast<std::size_t>(slice_begin(n, ranks, r + 1) - begin));
    }
    return spans;
}

}  // namespace

bool Pending::poll() {
    if (operation_ && operation_->poll()) operation_.reset();
    return !operation_;
}

bool Pending::Operation::wait() {
    while (!poll()) std::this_thread::yield();
    return true;
}

void Pending::wait_on_host() {
    while (!poll()) std::this_thread::yield();
}

void Pending::wait() {
    if (operation_ && operation_->wait()) operation_.reset();
}

void Communicator::copy_own(std::span<const std::byte> from, std::span<std::byte> to) {
    if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}

void Communicator::check_on_host(const char* operation) {
    if (stream()) throw Error(text(operation, ": the communicator moves a GPU's memory, wanted the host's"));
}

Pending Communicator::start_all_to_all(std::span<const std::span<const std::byte>> send,
                                       std::span<const std::span<std::byte>> receive) {
    check_count("all-to-all", send.size(), size());
    check_count("all-to-all", receive.size(), size());
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    for (int r = 0; r < size(); ++r) {
        const auto i = static_cast<std::size_t>(r);
        if (r == rank()) {
            check_own("all-to-all", send[i].size(), receive[i].size());
            if (send[i].data() != receive[i].data()) copy_own(send[i], receive[i]);
            continue;
        }
        outgoing.push_back({r, send[i]});
        incoming.push_back({r, receive[i]});
    }
    return start_exchange(outgoing, incoming);
}

Pending Communicator::start_all_gather(std::span<const std::byte> send,
                                       std::span<const std::span<std::byte>> receive) {
    check_count("all-gather", receive.size(), size());
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    for (int r = 0; r < size(); ++r) {
        const auto i = static_cast<std::size_t>(r);
        if (r == rank()) {
            check_own("all-gather", send.size(), receive[i].size());
            if (send.data() != receive[i].data()) copy_own(send, receive[i]);
            continue;
        }
        outgoing.push_back({r, send});
        incoming.push_back({r, receive[i]});
    }
    return start_exchange(outgoing, incoming);
}

template <class T>
void Communicator::all_reduce(std::span<T> values, Reduction reduction) {
    check_on_host("all-reduce");
    if (size() == 1) return;
    if (values.size_bytes() <= kOneRoundBytes) {
        std::vector<T> all(values.size() * static_cast<std::size_t>(size()));
        all_gather(std::as_bytes(values), rows(all, values.size(), size()));
        combine_in_order(reduction, all, values.size());
        std::copy_n(all.begin(), values.size(), values.begin());
        return;
    }
    const auto parts = slices(values, size());
    const std::span<T> own = parts[static_cast<std::size_t>(rank())];
    reduce_scatter(std::span<const T>(values), own, reduction);
    std::vector<std::span<std::byte>> receive;
    for (const auto& part : parts) receive.push_back(std::as_writable_bytes(part));
    all_gather(std::as_bytes(own), receive);
}

template <class T>
void Communicator::reduce_scatter(std::span<const T> values, std::span<T> slice, Reduction reduction) {
    check_on_host("reduce-scatter");
    const auto parts = slices(values, size());
    const std::span<const T> own = parts[static_cast<std::size_t>(rank())];
    if (slice.size() != own.size())
        throw ShapeError(text("reduce-scatter: a slice of ", slice.size(), " elements, wanted ", own.size()));
    std::vector<T> all(own.size() * static_cast<std::size_t>(size()));
    std::vector<std::span<const std::byte>> send;
    for (const auto& part : parts) send.push_back(std::as_bytes(part));
    all_to_all(send, rows(all, own.size(), size()));
    combine_in_order(reduction, all, own.size());
    std::copy_n(all.begin(), slice.size(), slice.begin());
}

template void Communicator::all_reduce(std::span<float>, Reduction);
template void Communicator::all_reduce(std::span<double>, Reduction);
template void Communicator::all_reduce(std::span<std::int64_t>, Reduction);
template void Communicator::reduce_scatter(std::span<const float>, std::span<float>, Reduction);
template void Communicator::reduce_scatter(std::span<const double>, std::span<double>, Reduction);
template void Communicator::reduce_scatter(std::span<const std::int64_t>, std::span<std::int64_t>, Reduction);

void Communicator::broadcast(std::span<std::byte> bytes, int root) {
    if (root < 0 || root >= size())
        throw ShapeError(text("broadcast: root ", root, " of ", size(), " ranks"));
    const bool direct = bytes.size() <= kDirectBroadcastBytes;
    const auto parts = slices(bytes, size());
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    if (rank() == root) {
        for (int r = 0; r < size(); ++r)
            if (r != root) outgoing.push_back({r, direct ? bytes : parts[static_cast<std::size_t>(r)]});
    } else {
        incoming.push_back({root, direct ? bytes : parts[static_cast<std::size_t>(rank())]});
    }
    start_exchange(outgoing, incoming).wait();
    if (!direct) all_gather(parts[static_cast<std::size_t>(rank())], parts);
}

std::vector<std::string> Communicator::all_gather_text(std::string_view mine) {
    check_on_host("all-gather of texts");
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(size()));
    const auto length = static_cast<std::int64_t>(mine.size());
    all_gather(std::as_bytes(std::span(&length, 1)), rows(lengths, 1, size()));
    std::vector<std::string> texts(lengths.size());
    std::vector<std::span<std::byte>> receive;
    for (std::size_t r = 0; r < texts.size(); ++r) {
        texts[r].resize(static_cast<std::size_t>(lengths[r]));
        receive.push_back(std::as_writable_bytes(std::span(texts[r])));
    }
    all_gather(std::as_bytes(std::span(mine)), receive);
    return texts;
}

std::string Communicator::broadcast_text(std::string_view mine, int root) {
    check_on_host("broadcast of a text");
    auto length = static_cast<std::int64_t>(mine.size());
    broadcast(std::as_writable_bytes(std::span(&length, 1)), root);
    std::string result(mine.substr(0, rank() == root ? mine.size() : 0));
    result.resize(static_cast<std::size_t>(length));
    broadcast(std::as_writable_bytes(std::span(result)), root);
    return result;
}

void Communicator::barrier() {
    check_on_host("barrier");
    // Dissemination: after round k each rank has heard, directly or not, from the 2^(k+1) - 1 before it.
    std::byte out{}, in{};
    for (int distance = 1; distance < size(); distance *= 2) {
        const Outgoing send{(rank() + distance) % size(), {&out, 1}};
        const Incoming receive{(rank() - distance + size()) % size(), {&in, 1}};
        start_exchange({&send, 1}, {&receive, 1}).wait();
    }
}

Pending SoloCommunicator::start_exchange(std::span<const Outgoing> send, std::span<const Incoming> receive) {
    if (!send.empty() || !receive.empty())
        throw MpiError(text("exchange: ", send.size() + receive.size(),
                            " messages in a group of one rank, wanted none"));
    return {};
}

}  // namespace skein
