#include "data/hdf5_file.h"

#include <hdf5.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "data/hdf5_library.h"

namespace skein {

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

bool Hdf5File::has_dataset(const std::string& name) const {
    const LibraryLock lock;
    for (std::size_t at = name.find('/', 1);; at = name.find('/', at + 1)) {
        if (H5Lexists(file_, name.substr(0, at).c_str(), H5P_DEFAULT) <= 0) return false;
        if (at == std::string::npos) break;
    }
    const Hid object(H5Oopen(file_, name.c_str(), H5P_DEFAULT));
    return object && H5Iget_type(object.get()) == H5I_DATASET;
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
    const bool was_written = file_ >= 0 && system_ != nullptr;
    close_unsynced();
    if (was_written) sync_file(*system_, path_);
}

void Hdf5File::close_unsynced() {
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
}

}  // namespace skein
