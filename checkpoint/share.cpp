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

/// Every distinct box, by the set of ranks that hold it.
std::map<std::vector<int>, std::vector<Held>> by_holders(std::span<const StateTensor> tensors,
                                                         const std::vector<std::vector<Layout>>& layouts) {
    std::map<std::vector<int>, std::vector<Held>> out;
    for (std::size_t t = 0; t < tensors.size(); ++t) {
        std::vector<std::pair<Box, std::vector<int>>> boxes;
        for (std::size_t rank = 0; rank < layouts.size(); ++rank) {
            const Box box = Box::of(layouts[rank][t], tensors[t].global_shape);
            auto found = std::find_if(boxes.begin(), boxes.end(),
                                      [&](const auto& entry) { return entry.first == box; });
            if (found == boxes.end()) found = boxes.insert(boxes.end(), {box, {}});
            found->second.push_back(static_cast<int>(rank));
        }
        std::int64_t elements = 0;
        bool overlap = false;
        for (std::size_t i = 0; i < boxes.size(); ++i) {
            elements += boxes[i].first.elements();
            for (std::size_t j = 0; j < i; ++j)
                overlap = overlap || intersection(boxes[i].first, boxes[j].first).has_value();
        }
        if (overlap || elements != tensors[t].global_shape.elements())
            throw CheckpointError(text("save ", tensors[t].name, ": the ranks hold ", elements,
                                       overlap ? " elements that overlap" : " elements", ", wanted each of ",
                                       tensors[t].global_shape.elements(), " once"));
        const std::uint64_t element = size_of(tensors[t].dtype);
        for (auto& [box, ranks] : boxes)
            if (box.elements() > 0)
                out[ranks].push_back({t, box, unsigned_of(box.elements()) * element,
                                      unsigned_of(box.row_elements()) * element});
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
        const std::size_t wanted =
            static_cast<std::size_t>(tensor.layout.local(tensor.global_shape).elements()) *
            size_of(tensor.dtype);
        if (tensor.bytes.size() != wanted)
            return text(tensor.name, " has ", tensor.bytes.size(), " bytes, wanted ", wanted);
    }
    return {};
}

}  // namespace

std::vector<SharePiece> share_out(std::span<const StateTensor> tensors,
                                  const std::vector<std::vector<Layout>>& layouts, std::uint64_t whole) {
    std::vector<SharePiece> out;
    for (const auto& [ranks, held] : by_holders(tensors, layouts)) {
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
                out.push_back({one.tensor, box, ranks[static_cast<std::size_t>(writer)]});
                row = end;
            }
            begin += one.bytes;
        }
    }
    std::sort(out.begin(), out.end(), [](const SharePiece& a, const SharePiece& b) {
        return a.tensor != b.tensor ? a.tensor < b.tensor : a.rank < b.rank;
    });
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
        if (fault.empty())
            mine += text(" ", tensor.layout.axis, " ", tensor.layout.parts, " ", tensor.layout.part);
    const std::vector<std::string> all = world.all_gather_text(mine);

    std::vector<std::vector<Layout>> layouts(all.size());
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
        for (std::size_t t = 0; t < tensors.size(); ++t) {
            Layout layout;
            in >> layout.axis >> layout.parts >> layout.part;
            layouts[rank].push_back(layout);
        }
    }
    return share_out(tensors, layouts);
}

}  // namespace skein
