#include "model/tensor/communicator.h"

#include <algorithm>
#include <cstring>
#include <memory>
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

// to = left and right combined; may be one of them.
template <class T>
void combine(Reduction reduction, const T* left, const T* right, T* to, std::size_t count) {
    switch (reduction) {
        case Reduction::kSum:
            for (std::size_t i = 0; i < count; ++i) to[i] = left[i] + right[i];
            break;
        case Reduction::kMin:
            for (std::size_t i = 0; i < count; ++i) to[i] = std::min(left[i], right[i]);
            break;
        case Reduction::kMax:
            for (std::size_t i = 0; i < count; ++i) to[i] = std::max(left[i], right[i]);
            break;
    }
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

std::string_view path_from_root(const std::source_location& where) {
    // as the compiler was given it: from the root of all, or from where it ran
    std::string_view path = where.file_name();
    constexpr std::string_view kRoot = SKEIN_SOURCE_DIR "/", kUp = "../";
    if (path.starts_with(kRoot)) path.remove_prefix(kRoot.size());
    while (path.starts_with(kUp)) path.remove_prefix(kUp.size());
    return path;
}

std::string to_text(const CallSite& site) {
    return text(site.name, " at ", path_from_root(site.where), ":", site.where.line());
}

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
                                       std::span<const std::span<std::byte>> receive, const CallSite& site) {
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
    return start_exchange(outgoing, incoming, site);
}

Pending Communicator::start_all_gather(std::span<const std::byte> send,
                                       std::span<const std::span<std::byte>> receive, const CallSite& site) {
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
    return start_exchange(outgoing, incoming, site);
}

template <class T>
void Communicator::all_reduce(std::span<T> values, Reduction reduction, std::source_location where) {
    check_on_host("all-reduce");
    if (size() == 1) return;
    const CallSite site{"all-reduce", where};
    if (values.size_bytes() <= kOneRoundBytes) {
        std::vector<T> all(values.size() * static_cast<std::size_t>(size()));
        start_all_gather(std::as_bytes(values), rows(all, values.size(), size()), site).wait();
        std::copy_n(all.begin(), values.size(), values.begin());
        for (std::size_t at = values.size(); at < all.size(); at += values.size())
            combine(reduction, values.data(), all.data() + at, values.data(), values.size());
        return;
    }
    const auto parts = slices(values, size());
    const std::span<T> own = parts[static_cast<std::size_t>(rank())];
    reduce_scatter(std::span<const T>(values), own, reduction, site);
    std::vector<std::span<std::byte>> receive;
    for (const auto& part : parts) receive.push_back(std::as_writable_bytes(part));
    start_all_gather(std::as_bytes(own), receive, site).wait();
}

template <class T>
void Communicator::reduce_scatter(std::span<const T> values, std::span<T> slice, Reduction reduction,
                                  const CallSite& site) {
    check_on_host("reduce-scatter");
    const auto parts = slices(values, size());
    const std::span<const T> own = parts[static_cast<std::size_t>(rank())];
    if (slice.size() != own.size())
        throw ShapeError(text("reduce-scatter: a slice of ", slice.size(), " elements, wanted ", own.size()));
    // what the others send is all that needs room; `slice` may be this rank's part of `values`
    const auto ranks = static_cast<std::size_t>(size()), self = static_cast<std::size_t>(rank());
    const auto room = std::make_unique_for_overwrite<T[]>(own.size() * (ranks - 1));
    std::vector<const T*> by_rank(ranks, own.data());
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    for (std::size_t r = 0, at = 0; r < ranks; ++r) {
        if (r == self) continue;
        const std::span<T> arriving(room.get() + at, own.size());
        by_rank[r] = arriving.data();
        at += own.size();
        outgoing.push_back({static_cast<int>(r), std::as_bytes(parts[r])});
        incoming.push_back({static_cast<int>(r), std::as_writable_bytes(arriving)});
    }
    start_exchange(outgoing, incoming, site).wait();
    if (ranks == 1) std::copy_n(own.begin(), slice.size(), slice.begin());
    const T* sum = by_rank[0];
    for (std::size_t r = 1; r < ranks; ++r) {  // in order; not over this rank's own before it is added
        T* const to = r + 1 == ranks || self == 0 ? slice.data() : room.get();
        combine(reduction, sum, by_rank[r], to, own.size());
        sum = to;
    }
}

template void Communicator::all_reduce(std::span<float>, Reduction, std::source_location);
template void Communicator::all_reduce(std::span<double>, Reduction, std::source_location);
template void Communicator::all_reduce(std::span<std::int64_t>, Reduction, std::source_location);
template void Communicator::reduce_scatter(std::span<const float>, std::span<float>, Reduction,
                                           const CallSite&);
template void Communicator::reduce_scatter(std::span<const double>, std::span<double>, Reduction,
                                           const CallSite&);
template void Communicator::reduce_scatter(std::span<const std::int64_t>, std::span<std::int64_t>, Reduction,
                                           const CallSite&);

void Communicator::broadcast(std::span<std::byte> bytes, int root, const CallSite& site) {
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
    start_exchange(outgoing, incoming, site).wait();
    if (!direct) start_all_gather(parts[static_cast<std::size_t>(rank())], parts, site).wait();
}

std::vector<std::string> Communicator::all_gather_text(std::string_view mine, std::source_location where) {
    check_on_host("all-gather of texts");
    const CallSite site{"all-gather of texts", where};
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(size()));
    const auto length = static_cast<std::int64_t>(mine.size());
    start_all_gather(std::as_bytes(std::span(&length, 1)), rows(lengths, 1, size()), site).wait();
    std::vector<std::string> texts(lengths.size());
    std::vector<std::span<std::byte>> receive;
    for (std::size_t r = 0; r < texts.size(); ++r) {
        texts[r].resize(static_cast<std::size_t>(lengths[r]));
        receive.push_back(std::as_writable_bytes(std::span(texts[r])));
    }
    start_all_gather(std::as_bytes(std::span(mine)), receive, site).wait();
    return texts;
}

std::string Communicator::broadcast_text(std::string_view mine, int root, std::source_location where) {
    check_on_host("broadcast of a text");
    const CallSite site{"broadcast of a text", where};
    auto length = static_cast<std::int64_t>(mine.size());
    broadcast(std::as_writable_bytes(std::span(&length, 1)), root, site);
    std::string result(mine.substr(0, rank() == root ? mine.size() : 0));
    result.resize(static_cast<std::size_t>(length));
    broadcast(std::as_writable_bytes(std::span(result)), root, site);
    return result;
}

void Communicator::barrier(std::source_location where) {
    check_on_host("barrier");
    // Dissemination: after round k each rank has heard, directly or not, from the 2^(k+1) - 1 before it.
    std::byte out{}, in{};
    for (int distance = 1; distance < size(); distance *= 2) {
        const Outgoing send{(rank() + distance) % size(), {&out, 1}};
        const Incoming receive{(rank() - distance + size()) % size(), {&in, 1}};
        start_exchange({&send, 1}, {&receive, 1}, {"barrier", where}).wait();
    }
}

Pending SoloCommunicator::start_exchange(std::span<const Outgoing> send, std::span<const Incoming> receive,
                                         const CallSite& site) {
    if (!send.empty() || !receive.empty())
        throw MpiError(text(to_text(site), ": ", send.size() + receive.size(),
                            " messages in a group of one rank, wanted none"));
    return {};
}

}  // namespace skein
