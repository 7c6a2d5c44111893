#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/base/error.h"
#include "model/base/files.h"

namespace skein {

/// Element types of datasets; stored little-endian. 16-bit floats are stored as kU16, as the bits they are.
enum class Hdf5Type { kU8, kU16, kI32, kU32, kI64, kU64, kF32, kF64 };

std::size_t size_of(Hdf5Type type);
std::string_view name_of(Hdf5Type type);

template <class T>
constexpr Hdf5Type hdf5_type_of();
template <>
constexpr Hdf5Type hdf5_type_of<std::uint8_t>() {
    return Hdf5Type::kU8;
}
template <>
constexpr Hdf5Type hdf5_type_of<std::uint16_t>() {
    return Hdf5Type::kU16;
}
template <>
constexpr Hdf5Type hdf5_type_of<std::int32_t>() {
    return Hdf5Type::kI32;
}
template <>
constexpr Hdf5Type hdf5_type_of<std::uint32_t>() {
    return Hdf5Type::kU32;
}
template <>
constexpr Hdf5Type hdf5_type_of<std::int64_t>() {
    return Hdf5Type::kI64;
}
template <>
constexpr Hdf5Type hdf5_type_of<std::uint64_t>() {
    return Hdf5Type::kU64;
}
template <>
constexpr Hdf5Type hdf5_type_of<float>() {
    return Hdf5Type::kF32;
}
template <>
constexpr Hdf5Type hdf5_type_of<double>() {
    return Hdf5Type::kF64;
}

struct Hdf5DatasetOptions {
    /// Fletcher-32 of each chunk: a flipped bit in the elements is an error when they are read. Makes it
    /// chunked.
    bool fletcher32 = false;
    /// The first axis may grow by append(). Makes it chunked.
    bool extendible = false;
    /// Elements of a chunk along each axis; empty: chosen from the shape, at most 1 MiB a chunk.
    std::vector<std::uint64_t> chunk = {};
};

/// One source of a virtual dataset: the whole of `dataset` in `file` stands at `start` (one index an axis, in
/// elements of the virtual dataset) and covers `count`. `shape` is the source dataset's own shape: as many
/// elements as `count`. A relative `file` is looked for beside the file that holds the virtual dataset.
struct Hdf5VirtualPiece {
    std::string file, dataset;
    std::vector<std::uint64_t> shape;
    std::vector<std::uint64_t> start, count;
};

/// One HDF5 file, on the serial library, for any number of threads: one mutex in the process guards every
/// call to the library, held for at most 8 MB of reading or writing at a time. Objects are named by paths
/// such as
/// "/source/tokens"; groups are made as needed. Elements are addressed by their flat, row-major index. Files
/// carry no times, so the same calls make the same bytes.
///
/// Errors name the file and the dataset and give what HDF5 said: MissingError when there is no such file,
/// DataError for what is in it, IoError when it cannot be written. Move-only.
class Hdf5File {
  public:
    /// Creates or truncates `path`. `system` (outlives this) may refuse writes, and makes the fsync at
    /// close().
    static Hdf5File create(const std::string& path, FileSystem& system = FileSystem::real());
    static Hdf5File open_readonly(const std::string& path);

    Hdf5File(Hdf5File&& other) noexcept;
    Hdf5File& operator=(Hdf5File&& other) noexcept;
    /// Closes without fsync and without saying whether that went well: call close() on what was written.
    ~Hdf5File();

    const std::string& path() const { return path_; }

    /// Attributes of the root group. Scalars; strings are UTF-8. Reading throws DataError when absent or of
    /// another type.
    void set_attribute(const std::string& name, std::string_view value);
    void set_attribute(const std::string& name, std::int64_t value);
    bool has_attribute(const std::string& name) const;
    std::string string_attribute(const std::string& name) const;
    std::int64_t int_attribute(const std::string& name) const;

    /// `shape` has at least one axis; axes of 0 are allowed.
    void create_dataset(const std::string& name, Hdf5Type type, const std::vector<std::uint64_t>& shape,
                        const Hdf5DatasetOptions& options = {});
    /// A dataset whose elements are those of other files; where no piece covers it, or a file is gone, floats
    /// read NaN and integers 0.
    void create_virtual(const std::string& name, Hdf5Type type, const std::vector<std::uint64_t>& shape,
                        const std::vector<Hdf5VirtualPiece>& pieces);

    bool has_dataset(const std::string& name) const;
    std::vector<std::uint64_t> shape(const std::string& name) const;
    std::uint64_t elements(const std::string& name) const;
    Hdf5Type type(const std::string& name) const;
    /// Full paths of all datasets, sorted.
    std::vector<std::string> list() const;
    /// The byte of the file at which a dataset's elements begin; none where they do not lie in one piece.
    std::optional<std::uint64_t> place(const std::string& name) const;

    /// Writes the elements [offset, offset + bytes.size() / size_of(type)).
    void write_bytes(const std::string& name, std::uint64_t offset, std::span<const std::byte> bytes);
    /// Makes a one-axis extendible dataset longer by these elements.
    void append_bytes(const std::string& name, std::span<const std::byte> bytes);
    /// Fills `out` with the elements from `offset` on, in the dataset's own type.
    void read_bytes(const std::string& name, std::uint64_t offset, std::span<std::byte> out) const;

    /// The same by element; the dataset must have exactly this type (DataError).
    template <class T>
    void write(const std::string& name, std::uint64_t offset, std::span<const T> values) {
        require_type(name, hdf5_type_of<T>());
        write_bytes(name, offset, std::as_bytes(values));
    }
    template <class T>
    void append(const std::string& name, std::span<const T> values) {
        require_type(name, hdf5_type_of<T>());
        append_bytes(name, std::as_bytes(values));
    }
    template <class T>
    void read(const std::string& name, std::uint64_t offset, std::span<T> out) const {
        require_type(name, hdf5_type_of<T>());
        read_bytes(name, offset, std::as_writable_bytes(out));
    }

    /// Hands everything to the operating system.
    void flush();
    /// Closes; a file that was written is then fsynced, outside the mutex. Throws IoError. Later calls do
    /// nothing.
    void close();
    /// The same without the fsync, which is the caller's: sync_file(path()).
    void close_unsynced();

  private:
    using Id = std::int64_t;  // hid_t
    struct Dataset {
        Id id;
        Hdf5Type type;
        std::vector<std::uint64_t> shape;
    };

    Hdf5File(std::string path, Id file, FileSystem* system);
    [[noreturn]] void fail(const std::string& operation, const std::string& object) const;
    void require_type(const std::string& name, Hdf5Type type) const;
    void allow_write() const;
    Dataset& dataset(const std::string& name) const;
    void transfer(Dataset& dataset, const std::string& name, std::uint64_t offset, std::byte* out,
                  const std::byte* in, std::uint64_t count) const;
    bool close_ids() noexcept;

    std::string path_;
    Id file_ = -1;
    FileSystem* system_ = nullptr;  // null: read only
    /// Open datasets by path: a dataset's chunk cache lives as long as it is open. Guarded by the process's
    /// mutex.
    mutable std::map<std::string, Dataset> datasets_;
};

}  // namespace skein
