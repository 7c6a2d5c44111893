#include "data/hdf5_file.h"

#include <hdf5.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "model/base/handle.h"

namespace skein {
namespace {

static_assert(sizeof(hid_t) == sizeof(std::int64_t));

constexpr std::uint64_t kSliceBytes = std::uint64_t{8}
                                      << 20;  // the longest read or write in one hold of the mutex
constexpr std::uint64_t kAutoChunkBytes = std::uint64_t{1} << 20;
constexpr std::size_t kChunkCacheBytes = std::size_t{4} << 20, kChunkCacheSlots = 12'421;

/// Holds the process's one HDF5 mutex. Printing of errors is off for each thread that comes by (the library
/// keeps that setting per thread), and the library does nothing at exit: a file that could not be closed
/// would hang it there.
class LibraryLock {
  public:
    LibraryLock() : lock_(mutex()) {
        static const bool once = [] {
            H5dont_atexit();
            return true;
        }();
        static_cast<void>(once);
        H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    }

  private:
    static std::mutex& mutex() {
        static std::mutex one;
        return one;
    }
    std::lock_guard<std::mutex> lock_;
};

struct IdTraits {
    using Value = hid_t;
    static Value none() noexcept { return H5I_INVALID_HID; }
    static void release(Value id) noexcept { H5Idec_ref(id); }
};
/// Any HDF5 identifier that is to be released where it goes out of scope, within a LibraryLock.
using Hid = Handle<IdTraits>;

/// The innermost message of HDF5's error stack.
std::string library_error() {
    std::string message;
    H5Ewalk2(
        H5E_DEFAULT, H5E_WALK_UPWARD,
        [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
            auto& first = *static_cast<std::string*>(out);
            if (first.empty() && error->desc != nullptr) first = error->desc;
            return 0;
        },
        &message);
    for (char& c : message)
        if (c == '\n') c = ' ';
    return message.empty() ? "HDF5 gave no reason" : "HDF5: " + message;
}

hid_t memory_type(Hdf5Type type) {
    switch (type) {
        case Hdf5Type::kU8:
            return H5T_NATIVE_UINT8;
        case Hdf5Type::kU16:
            return H5T_NATIVE_UINT16;
        case Hdf5Type::kI32:
            return H5T_NATIVE_INT32;
        case Hdf5Type::kU32:
            return H5T_NATIVE_UINT32;
        case Hdf5Type::kI64:
            return H5T_NATIVE_INT64;
        case Hdf5Type::kU64:
            return H5T_NATIVE_UINT64;
        case Hdf5Type::kF32:
            return H5T_NATIVE_FLOAT;
        case Hdf5Type::kF64:
            return H5T_NATIVE_DOUBLE;
    }
    return H5I_INVALID_HID;
}

hid_t stored_type(Hdf5Type type) {
    switch (type) {
        case Hdf5Type::kU8:
            return H5T_STD_U8LE;
        case Hdf5Type::kU16:
            return H5T_STD_U16LE;
        case Hdf5Type::kI32:
            return H5T_STD_I32LE;
        case Hdf5Type::kU32:
            return H5T_STD_U32LE;
        case Hdf5Type::kI64:
            return H5T_STD_I64LE;
        case Hdf5Type::kU64:
            return H5T_STD_U64LE;
        case Hdf5Type::kF32:
            return H5T_IEEE_F32LE;
        case Hdf5Type::kF64:
            return H5T_IEEE_F64LE;
    }
    return H5I_INVALID_HID;
}

std::optional<Hdf5Type> type_of_stored(hid_t type) {
    const std::size_t size = H5Tget_size(type);
    const H5T_class_t kind = H5Tget_class(type);
    if (kind == H5T_FLOAT) {
        if (size == 4) return Hdf5Type::kF32;
        if (size == 8) return Hdf5Type::kF64;
    }
    if (kind == H5T_INTEGER) {
        const bool has_sign = H5Tget_sign(type) != H5T_SGN_NONE;
        if (size == 1 && !has_sign) return Hdf5Type::kU8;
        if (size == 2 && !has_sign) return Hdf5Type::kU16;
        if (size == 4) return has_sign ? Hdf5Type::kI32 : Hdf5Type::kU32;
        if (size == 8) return has_sign ? Hdf5Type::kI64 : Hdf5Type::kU64;
    }
    return std::nullopt;
}

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

std::size_t size_of(Hdf5Type type) {
    switch (type) {
        case Hdf5Type::kU8:
            return 1;
        case Hdf5Type::kU16:
            return 2;
        case Hdf5Type::kI32:
        case Hdf5Type::kU32:
        case Hdf5Type::kF32:
            return 4;
        case Hdf5Type::kI64:
        case Hdf5Type::kU64:
        case Hdf5Type::kF64:
            return 8;
    }
    return 0;
}

std::string_view name_of(Hdf5Type type) {
    constexpr std::string_view kNames[] = {"uint8", "uint16", "int32",   "uint32",
                                           "int64", "uint64", "float32", "float64"};
    return kNames[static_cast<int>(type)];
}

Hdf5File::Hdf5File(std::string path, Id file, FileSystem* system)
    : path_(std::move(path)), file_(file), system_(system) {}

Hdf5File Hdf5File::create(const std::string& path, FileSystem& system) {
    if (system.before_library_write(path.c_str()) != 0) throw_errno("create", path);
    // A file of this name that HDF5 once failed to close is still open inside the library, which would refuse
    // the name.
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw_errno("replace", path);
    const LibraryLock lock;
    const Hid access(H5Pcreate(H5P_FILE_ACCESS)), creation(H5Pcreate(H5P_FILE_CREATE));
    Hdf5File out(path, H5I_INVALID_HID, &system);
    if (H5Pset_file_locking(access.get(), 0, 1) < 0 ||
        H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG) < 0 ||
        H5Pset_obj_track_times(creation.get(), 0) < 0)
        out.fail("create", "");
    out.file_ = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get());
    if (out.file_ < 0) out.fail("create", "");
    return out;
}

Hdf5File Hdf5File::open_readonly(const std::string& path) {
    static_cast<void>(file_size(path));  // MissingError and IoError with the system's own reason
    const LibraryLock lock;
    const Hid access(H5Pcreate(H5P_FILE_ACCESS));
    Hdf5File out(path, H5I_INVALID_HID, nullptr);
    if (H5Pset_file_locking(access.get(), 0, 1) < 0 ||
        H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG) < 0)
        out.fail("open", "");
    out.file_ = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get());
    if (out.file_ < 0) out.fail("open as an HDF5 file", "");
    return out;
}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::exchange(other.file_, H5I_INVALID_HID)),
      system_(other.system_),
      datasets_(std::exchange(other.datasets_, {})) {}

Hdf5File& Hdf5File::operator=(Hdf5File&& other) noexcept {
    if (this != &other) {
        close_ids();
        path_ = std::move(other.path_);
        file_ = std::exchange(other.file_, H5I_INVALID_HID);
        system_ = other.system_;
        datasets_ = std::exchange(other.datasets_, {});
    }
    return *this;
}

Hdf5File::~Hdf5File() {
    close_ids();
}

void Hdf5File::fail(const std::string& operation, const std::string& object) const {
    const std::string message =
        text(path_, object.empty() ? "" : ", ", object, ": cannot ", operation, ": ", library_error());
    if (system_ != nullptr) throw IoError(message);
    throw DataError(message);
}

void Hdf5File::require_type(const std::string& name, Hdf5Type wanted) const {
    if (const Hdf5Type found = type(name); found != wanted)
        throw DataError(text(path_, ", ", name, ": found ", name_of(found), ", wanted ", name_of(wanted)));
}

void Hdf5File::allow_write() const {
    if (system_ == nullptr || file_ < 0)
        throw IoError(text(path_, ": write: the file is not open for writing"));
    if (system_->before_library_write(path_.c_str()) != 0) throw_errno("write", path_);
}

void Hdf5File::set_attribute(const std::string& name, std::string_view value) {
    allow_write();
    const LibraryLock lock;
    const Hid type(H5Tcopy(H5T_C_S1)), space(H5Screate(H5S_SCALAR));
    const std::string copy(value);
    const char* pointer = copy.c_str();
    if (H5Tset_size(type.get(), H5T_VARIABLE) < 0 || H5Tset_cset(type.get(), H5T_CSET_UTF8) < 0)
        fail("write the attribute", name);
    const Hid attribute(H5Acreate2(file_, name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT));
    if (!attribute || H5Awrite(attribute.get(), type.get(), &pointer) < 0) fail("write the attribute", name);
}

void Hdf5File::set_attribute(const std::string& name, std::int64_t value) {
    allow_write();
    const LibraryLock lock;
    const Hid space(H5Screate(H5S_SCALAR));
    const Hid attribute(
        H5Acreate2(file_, name.c_str(), H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT));
    if (!attribute || H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value) < 0)
        fail("write the attribute", name);
}

bool Hdf5File::has_attribute(const std::string& name) const {
    const LibraryLock lock;
    return H5Aexists(file_, name.c_str()) > 0;
}

std::string Hdf5File::string_attribute(const std::string& name) const {
    const LibraryLock lock;
    if (H5Aexists(file_, name.c_str()) <= 0) throw DataError(text(path_, ": has no attribute ", name));
    const Hid attribute(H5Aopen(file_, name.c_str(), H5P_DEFAULT));
    const Hid type(H5Aget_type(attribute.get())), space(H5Aget_space(attribute.get()));
    if (!attribute || !type || !space) fail("read the attribute", name);
    if (H5Tget_class(type.get()) != H5T_STRING || H5Sget_simple_extent_npoints(space.get()) != 1)
        throw DataError(text(path_, ": the attribute ", name, " is not one string"));
    const Hid memory(H5Tcopy(H5T_C_S1));
    H5Tset_cset(memory.get(), H5Tget_cset(type.get()));
    if (H5Tis_variable_str(type.get()) > 0) {
        char* value = nullptr;
        H5Tset_size(memory.get(), H5T_VARIABLE);
        if (H5Aread(attribute.get(), memory.get(), static_cast<void*>(&value)) < 0)
            fail("read the attribute", name);
        std::string out = value == nullptr ? "" : value;
        H5free_memory(value);
        return out;
    }
    std::string out(H5Tget_size(type.get()) + 1, '\0');
    H5Tset_size(memory.get(), out.size());
    if (H5Aread(attribute.get(), memory.get(), out.data()) < 0) fail("read the attribute", name);
    return out.c_str();
}

std::int64_t Hdf5File::int_attribute(const std::string& name) const {
    const LibraryLock lock;
    if (H5Aexists(file_, name.c_str()) <= 0) throw DataError(text(path_, ": has no attribute ", name));
    const Hid attribute(H5Aopen(file_, name.c_str(), H5P_DEFAULT));
    const Hid type(H5Aget_type(attribute.get())), space(H5Aget_space(attribute.get()));
    if (!attribute || !type || !space) fail("read the attribute", name);
    if (H5Tget_class(type.get()) != H5T_INTEGER || H5Sget_simple_extent_npoints(space.get()) != 1)
        throw DataError(text(path_, ": the attribute ", name, " is not one integer"));
    std::int64_t value = 0;
    if (H5Aread(attribute.get(), H5T_NATIVE_INT64, &value) < 0) fail("read the attribute", name);
    return value;
}

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

bool Hdf5File::has_dataset(const std::string& name) const {
    const LibraryLock lock;
    for (std::size_t at = name.find('/', 1);; at = name.find('/', at + 1)) {
        if (H5Lexists(file_, name.substr(0, at).c_str(), H5P_DEFAULT) <= 0) return false;
        if (at == std::string::npos) break;
    }
    const Hid object(H5Oopen(file_, name.c_str(), H5P_DEFAULT));
    return object && H5Iget_type(object.get()) == H5I_DATASET;
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

std::vector<std::string> Hdf5File::list() const {
    const LibraryLock lock;
    std::vector<std::string> out, groups{"/"};
    while (!groups.empty()) {
        const std::string path = groups.back();
        groups.pop_back();
        const Hid group(H5Gopen2(file_, path.c_str(), H5P_DEFAULT));
        H5G_info_t info{};
        if (!group || H5Gget_info(group.get(), &info) < 0) fail("list the group", path);
        for (hsize_t i = 0; i < info.nlinks; ++i) {
            const auto entry = [&](char* buffer, std::size_t size) {
                return H5Lget_name_by_idx(group.get(), ".", H5_INDEX_NAME, H5_ITER_INC, i, buffer, size,
                                          H5P_DEFAULT);
            };
            const ssize_t length = entry(nullptr, 0);
            if (length < 0) fail("list the group", path);
            std::string name(static_cast<std::size_t>(length) + 1, '\0');
            if (entry(name.data(), name.size()) < 0) fail("list the group", path);
            name.pop_back();
            name = (path == "/" ? "/" : path + "/") + name;
            const Hid object(H5Oopen(file_, name.c_str(), H5P_DEFAULT));
            if (!object) fail("open", name);
            if (H5Iget_type(object.get()) == H5I_DATASET) out.push_back(name);
            if (H5Iget_type(object.get()) == H5I_GROUP) groups.push_back(name);
        }
    }
    std::sort(out.begin(), out.end());
    return out;
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

void Hdf5File::flush() {
    allow_write();
    const LibraryLock lock;
    if (H5Fflush(file_, H5F_SCOPE_LOCAL) < 0) fail("flush", "");
}

/// False when HDF5 could not write what it held. It then keeps the file open for ever; its space is given
/// back.
bool Hdf5File::close_ids() noexcept {
    if (file_ < 0) return true;
    const LibraryLock lock;
    bool good = true;
    for (const auto& [name, dataset] : datasets_) good = H5Dclose(dataset.id) >= 0 && good;
    datasets_.clear();
    good = H5Fclose(file_) >= 0 && good;
    file_ = H5I_INVALID_HID;
    if (!good && system_ != nullptr && ::truncate(path_.c_str(), 0) != 0) errno = 0;
    return good;
}

void Hdf5File::close() {
    if (file_ < 0) return;
    if (system_ == nullptr) {
        close_ids();
        return;
    }
    try {
        flush();
    } catch (...) {
        close_ids();
        throw;
    }
    if (!close_ids()) throw IoError(text(path_, ": cannot close: HDF5 could not write what it held"));
    sync_file(*system_, path_);
}

}  // namespace skein
