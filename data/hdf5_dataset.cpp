// Hdf5File's datasets: made, opened, written and read.

#include <hdf5.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "data/hdf5_file.h"
#include "data/hdf5_library.h"

namespace skein {
namespace {

constexpr std::uint64_t kSliceBytes = std::uint64_t{8}
                                      << 20;  // the longest read or write in one hold of the mutex
constexpr std::uint64_t kAutoChunkBytes = std::uint64_t{1} << 20;
constexpr std::size_t kChunkCacheBytes = std::size_t{4} << 20, kChunkCacheSlots = 12'421;

std::uint64_t product(const std::vector<std::uint64_t>& shape) {
    return std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>());
}

/// HDF5 has its own 64-bit type for extents.
std::vector<hsize_t> extents(const std::vector<std::uint64_t>& shape) {
    return {shape.begin(), shape.end()};
}

/// A chunk of at most kAutoChunkBytes that takes whole inner axes as far as it can.
std::vector<std::uint64_t> chosen_chunk(const std::vector<std::uint64_t>& shape, std::size_t element,
                                        bool extendible) {
    std::vector<std::uint64_t> chunk(shape.size(), 1);
    std::uint64_t room = kAutoChunkBytes / element;
    for (std::size_t axis = shape.size(); axis-- > 0;) {
        const bool open_ended = extendible && axis == 0;
        chunk[axis] = std::max<std::uint64_t>(1, open_ended ? room : std::min(room, shape[axis]));
        room /= chunk[axis];
    }
    return chunk;
}

/// A box of a row-major array that is one contiguous run of it.
struct Box {
    std::vector<hsize_t> start, count;
    std::uint64_t elements;
};

/// The largest such box that starts at element `offset` and has at most `room` elements.
Box leading_box(const std::vector<std::uint64_t>& shape, std::uint64_t offset, std::uint64_t room) {
    const std::size_t axes = shape.size();
    Box box{std::vector<hsize_t>(axes), std::vector<hsize_t>(axes, 1), 0};
    std::uint64_t rest = offset;
    for (std::size_t axis = axes; axis-- > 0; rest /= shape[axis]) box.start[axis] = rest % shape[axis];
    std::uint64_t stride = 1;  // elements of one index along `axis`
    std::size_t axis = axes - 1;
    while (axis > 0 && box.start[axis] == 0 && stride * shape[axis] <= room) {
        box.count[axis] = shape[axis];
        stride *= shape[axis--];
    }
    box.count[axis] = std::min<std::uint64_t>(room / stride, shape[axis] - box.start[axis]);
    box.elements = box.count[axis] * stride;
    return box;
}

}  // namespace

void Hdf5File::create_dataset(const std::string& name, Hdf5Type type, const std::vector<std::uint64_t>& shape,
                              const Hdf5DatasetOptions& options) {
    allow_write();
    if (shape.empty())
        throw ShapeError(text(path_, ", ", name, ": create: found no axis, wanted at least one"));
    const LibraryLock lock;
    const Hid creation(H5Pcreate(H5P_DATASET_CREATE)), links(H5Pcreate(H5P_LINK_CREATE));
    bool good = H5Pset_create_intermediate_group(links.get(), 1) >= 0 &&
                H5Pset_obj_track_times(creation.get(), 0) >= 0;
    const bool is_empty = product(shape) == 0;
    if (options.extendible || ((options.fletcher32 || !options.chunk.empty()) && !is_empty)) {
        const auto chunk = extents(
            options.chunk.empty() ? chosen_chunk(shape, size_of(type), options.extendible) : options.chunk);
        if (chunk.size() != shape.size())
            throw ShapeError(text(path_, ", ", name, ": create: found ", chunk.size(),
                                  " axes in the chunk, wanted ", shape.size()));
        good = good && H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data()) >= 0;
        if (options.fletcher32) good = good && H5Pset_fletcher32(creation.get()) >= 0;
    }
    const std::vector<hsize_t> dims = extents(shape);
    std::vector<hsize_t> most = dims;
    if (options.extendible) most[0] = H5S_UNLIMITED;
    const Hid space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), most.data()));
    if (!good || !space) fail("create", name);
    const Hid made(H5Dcreate2(file_, name.c_str(), stored_type(type), space.get(), links.get(),
                              creation.get(), H5P_DEFAULT));
    if (!made) fail("create", name);
}

void Hdf5File::create_virtual(const std::string& name, Hdf5Type type, const std::vector<std::uint64_t>& shape,
                              const std::vector<Hdf5VirtualPiece>& pieces) {
    allow_write();
    const LibraryLock lock;
    const Hid creation(H5Pcreate(H5P_DATASET_CREATE)), links(H5Pcreate(H5P_LINK_CREATE));
    bool good = H5Pset_create_intermediate_group(links.get(), 1) >= 0 &&
                H5Pset_obj_track_times(creation.get(), 0) >= 0;
    if (type == Hdf5Type::kF32 || type == Hdf5Type::kF64) {
        const double nan = std::numeric_limits<double>::quiet_NaN();
        good = good && H5Pset_fill_value(creation.get(), H5T_NATIVE_DOUBLE, &nan) >= 0;
    }
    const std::vector<hsize_t> dims = extents(shape);
    const Hid space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr));
    for (const Hdf5VirtualPiece& piece : pieces) {
        if (product(piece.shape) != product(piece.count) || piece.start.size() != shape.size() ||
            piece.count.size() != shape.size())
            throw ShapeError(text(path_, ", ", name, ": virtual piece ", piece.file, piece.dataset,
                                  ": its shape, start and count do not fit the dataset's"));
        if (product(piece.count) == 0) continue;
        const std::vector<hsize_t> start = extents(piece.start), count = extents(piece.count),
                                   source_dims = extents(piece.shape);
        const Hid source(H5Screate_simple(static_cast<int>(source_dims.size()), source_dims.data(), nullptr));
        good = good && source &&
               H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(),
                                   nullptr) >= 0 &&
               H5Pset_virtual(creation.get(), space.get(), piece.file.c_str(), piece.dataset.c_str(),
                              source.get()) >= 0;
    }
    if (!good) fail("create the virtual dataset", name);
    const Hid made(H5Dcreate2(file_, name.c_str(), stored_type(type), space.get(), links.get(),
                              creation.get(), H5P_DEFAULT));
    if (!made) fail("create the virtual dataset", name);
}

/// Within a LibraryLock.
Hdf5File::Dataset& Hdf5File::dataset(const std::string& name) const {
    if (const auto found = datasets_.find(name); found != datasets_.end()) return found->second;
    const Hid access(H5Pcreate(H5P_DATASET_ACCESS));
    H5Pset_chunk_cache(access.get(), kChunkCacheSlots, kChunkCacheBytes, 0.75);
    Hid opened(H5Dopen2(file_, name.c_str(), access.get()));
    if (!opened) fail("open the dataset", name);
    const Hid stored(H5Dget_type(opened.get())), space(H5Dget_space(opened.get()));
    const int axes = H5Sget_simple_extent_ndims(space.get());
    const std::optional<Hdf5Type> type = type_of_stored(stored.get());
    if (!type || axes < 1)
        throw DataError(text(path_, ", ", name, ": found neither an array of integers nor one of floats"));
    std::vector<hsize_t> dims(static_cast<std::size_t>(axes));
    if (H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr) < 0) fail("read the shape", name);
    const Dataset dataset{opened.get(), *type, {dims.begin(), dims.end()}};
    Dataset& kept = datasets_.emplace(name, dataset).first->second;
    opened.release();
    return kept;
}

std::vector<std::uint64_t> Hdf5File::shape(const std::string& name) const {
    const LibraryLock lock;
    return dataset(name).shape;
}

std::uint64_t Hdf5File::elements(const std::string& name) const {
    return product(shape(name));
}

Hdf5Type Hdf5File::type(const std::string& name) const {
    const LibraryLock lock;
    return dataset(name).type;
}

std::optional<std::uint64_t> Hdf5File::place(const std::string& name) const {
    const LibraryLock lock;
    const haddr_t at = H5Dget_offset(dataset(name).id);
    return at == HADDR_UNDEF ? std::nullopt : std::optional<std::uint64_t>(at);
}

/// One slice, within a LibraryLock: into `out`, or from `in`.
void Hdf5File::transfer(Dataset& dataset, const std::string& name, std::uint64_t offset, std::byte* out,
                        const std::byte* in, std::uint64_t count) const {
    const hid_t type = memory_type(dataset.type);
    const Hid space(H5Dget_space(dataset.id));
    while (count > 0) {
        const Box box = leading_box(dataset.shape, offset, count);
        const hsize_t length = box.elements;
        const Hid memory(H5Screate_simple(1, &length, nullptr));
        const bool good =
            space && memory &&
            H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, box.start.data(), nullptr, box.count.data(),
                                nullptr) >= 0 &&
            (out != nullptr ? H5Dread(dataset.id, type, memory.get(), space.get(), H5P_DEFAULT, out)
                            : H5Dwrite(dataset.id, type, memory.get(), space.get(), H5P_DEFAULT, in)) >= 0;
        if (!good) fail(text(out != nullptr ? "read" : "write", " elements from ", offset), name);
        const std::size_t bytes = box.elements * size_of(dataset.type);
        if (out != nullptr) out += bytes;
        if (in != nullptr) in += bytes;
        offset += box.elements;
        count -= box.elements;
    }
}

void Hdf5File::write_bytes(const std::string& name, std::uint64_t offset, std::span<const std::byte> bytes) {
    const std::size_t element = size_of(type(name));
    if (const std::uint64_t all = elements(name);
        bytes.size() % element != 0 || offset > all || bytes.size() / element > all - offset)
        throw ShapeError(text(path_, ", ", name, ": write ", bytes.size(), " bytes at element ", offset,
                              ": wanted whole ", element, "-byte elements inside ", all));
    for (std::size_t at = 0; at < bytes.size(); at += kSliceBytes) {
        allow_write();
        const std::size_t count = std::min<std::size_t>(kSliceBytes, bytes.size() - at);
        const LibraryLock lock;
        transfer(dataset(name), name, offset + at / element, nullptr, bytes.data() + at, count / element);
    }
}

void Hdf5File::append_bytes(const std::string& name, std::span<const std::byte> bytes) {
    const std::uint64_t count = bytes.size() / size_of(type(name));
    std::uint64_t before = 0;
    allow_write();
    {
        const LibraryLock lock;
        Dataset& grown = dataset(name);
        if (grown.shape.size() != 1) throw ShapeError(text(path_, ", ", name, ": append: wanted one axis"));
        before = grown.shape[0];
        const hsize_t after = before + count;
        if (H5Dset_extent(grown.id, &after) < 0) fail("extend", name);
        grown.shape[0] = after;
    }
    write_bytes(name, before, bytes);
}

void Hdf5File::read_bytes(const std::string& name, std::uint64_t offset, std::span<std::byte> out) const {
    const std::size_t element = size_of(type(name));
    if (const std::uint64_t all = elements(name);
        out.size() % element != 0 || offset > all || out.size() / element > all - offset)
        throw DataError(text(path_, ", ", name, ": read ", out.size() / element, " elements at ", offset,
                             ": the dataset has ", all));
    for (std::size_t at = 0; at < out.size(); at += kSliceBytes) {
        const std::size_t count = std::min<std::size_t>(kSliceBytes, out.size() - at);
        const LibraryLock lock;
        transfer(dataset(name), name, offset + at / element, out.data() + at, nullptr, count / element);
    }
}

}  // namespace skein
