#include "checkpoint/share.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "model/base/error.h"
#include "model/base/hash.h"

namespace skein {
namespace {

struct Held {
    std::size_t tensor;
    Box box;
    std::uint64_t bytes, row_bytes;
};

std::uint64_t unsigned_of(std::int64_t value) {
    return static_cast<std::uint64_t>(value);
}

struct Before {
    bool operator()(const Box& a, const Box& b) const {
        const bool same_start = a.start == b.start;
        return std::ranges::lexicographical_compare((same_start ? a.count : a.start).extents(),
                                                    (same_start ? b.count : b.start).extents());
    }
};

/// Every distinct box, by the set of ranks that hold it.
std::map<std::vector<int>, std::vector<Held>> by_holders(
    std::span<const StateTensor> tensors, const std::vector<std::vector<std::vector<Box>>>& boxes) {
    std::map<std::vector<int>, std::vector<Held>> out;
    for (std::size_t t = 0; t < tensors.size(); ++t) {
        std::map<Box, std::vector<int>, Before> holders;
        for (std::size_t rank = 0; rank < boxes.size(); ++rank)
            for (const Box& box : boxes[rank][t])
                if (box.elements() > 0) holders[box].push_back(static_cast<int>(rank));
        std::int64_t elements = 0;
        bool overlap = false;
        for (auto box = holders.begin(); box != holders.end(); ++box) {
            elements += box->first.elements();
            for (auto other = holders.begin(); other != box; ++other)
                overlap = overlap || intersection(box->first, other->first).has_value();
        }
        if (overlap || elements != tensors[t].global_shape.elements())
            throw CheckpointError(text("save ", tensors[t].name, ": the ranks hold ", elements,
                                       overlap ? " elements that overlap" : " elements", ", wanted each of ",
                                       tensors[t].global_shape.elements(), " once"));
        const std::uint64_t element = size_of(tensors[t].dtype);
        for (const auto& [box, ranks] : holders)
            out[ranks].push_back(
                {t, box, unsigned_of(box.elements()) * element, unsigned_of(box.row_elements()) * element});
    }
    return out;
}

/// "2 0 0 5 7 0 8 5 7 ": how many there are, then starts and counts.
std::string text_of(const std::vector<StateTensor::Part>& parts) {
    std::string out = text(" ", parts.size());
    for (const StateTensor::Part& part : parts) {
        for (const std::int64_t at : part.box.start.extents()) out += text(" ", at);
        for (const std::int64_t many : part.box.count.extents()) out += text(" ", many);
    }
    return out;
}

std::vector<Box> read_boxes(std::istringstream& in, int axes) {
    std::size_t boxes = 0;
    in >> boxes;
    const auto shape = [&] {
        std::vector<std::int64_t> extents(static_cast<std::size_t>(axes));
        for (std::int64_t& extent : extents) in >> extent;
        return Shape(extents);
    };
    std::vector<Box> out(boxes);
    for (Box& box : out) {
        box.start = shape();
        box.count = shape();
    }
    return out;
}

std::string describe(std::span<const StateTensor> tensors) {
    StreamingHash hash;
    for (const StateTensor& tensor : tensors)
        hash.update(text(tensor.name, "\n", name_of(tensor.dtype), "\n", tensor.global_shape, "\n"));
    return hash.hex();
}

/// What is wrong with this rank's own list; empty when nothing is.
std::string own_fault(std::span<const StateTensor> tensors) {
    std::set<std::string> names;
    for (const StateTensor& tensor : tensors) {
        if (!names.insert(tensor.name).second) return text("'", tensor.name, "' is listed twice");
        if (std::string fault = fault_of_parts(tensor); !fault.empty()) return fault;
    }
    return {};
}

}  // namespace

std::vector<SharePiece> share_out(std::span<const StateTensor> tensors,
                                  const std::vector<std::vector<std::vector<Box>>>& boxes,
                                  std::uint64_t whole) {
    std::vector<SharePiece> out;
    for (const auto& [ranks, held] : by_holders(tensors, boxes)) {
        std::uint64_t total = 0, begin = 0;
        for (const Held& one : held) total += one.bytes;
        const std::uint64_t writers = ranks.size();
        for (const Held& one : held) {
            const bool uncut = one.bytes <= whole || one.box.count.rank() == 0;
            const std::uint64_t rows = uncut ? 1 : unsigned_of(one.box.count[0]);
            const std::uint64_t row_bytes = uncut ? one.bytes : one.row_bytes;
            std::uint64_t row = 0;
            for (std::uint64_t writer = 0; writer < writers && row < rows; ++writer) {
                const std::uint64_t cut =
                    total / writers * (writer + 1) + total % writers * (writer + 1) / writers;
                std::uint64_t end = rows;  // the last writer takes what is left
                if (writer + 1 < writers)
                    end = cut <= begin ? 0 : std::min(rows, (cut - begin + row_bytes / 2) / row_bytes);
                if (end <= row) continue;
                const Box box =
                    uncut ? one.box
                          : one.box.rows(static_cast<std::int64_t>(row), static_cast<std::int64_t>(end));
                out.push_back({one.tensor, box, ranks[static_cast<std::size_t>(writer)], 0});
                row = end;
            }
            begin += one.bytes;
        }
    }
    std::sort(out.begin(), out.end(), [](const SharePiece& a, const SharePiece& b) {
        if (a.tensor != b.tensor) return a.tensor < b.tensor;
        return a.rank != b.rank ? a.rank < b.rank : Before()(a.box, b.box);
    });
    for (std::size_t i = 1; i < out.size(); ++i)
        if (out[i].tensor == out[i - 1].tensor && out[i].rank == out[i - 1].rank)
            out[i].place = out[i - 1].place + 1;
    return out;
}

std::vector<SharePiece> agree_on_shares(Communicator& world, std::span<const StateTensor> tensors) {
    std::string mine, fault;
    try {
        fault = own_fault(tensors);
    } catch (const Error& error) {
        fault = error.what();
    }
    mine = fault.empty() ? "ok " + describe(tensors) : "bad " + fault;
    for (const StateTensor& tensor : tensors)
        if (fault.empty()) mine += text_of(tensor.parts);
    const std::vector<std::string> all = world.all_gather_text(mine);

    std::vector<std::vector<std::vector<Box>>> boxes(all.size());
    std::string first;
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
        if (all[rank].starts_with("bad "))
            throw CheckpointError(text("save: rank ", rank, ": ", all[rank].substr(4)));
        std::istringstream in(all[rank].substr(3));
        std::string description;
        in >> description;
        if (rank == 0) first = description;
        if (description != first)
            throw CheckpointError(text("save: rank ", rank, " lists other tensors than rank 0"));
        for (const StateTensor& tensor : tensors)
            boxes[rank].push_back(read_boxes(in, tensor.global_shape.rank()));
    }
    return share_out(tensors, boxes);
}

}  // namespace skein
