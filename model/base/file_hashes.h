#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skein {

/// Files are hashed in blocks of this many bytes, so that a fault has a place and ranks can share out one
/// file.
inline constexpr std::uint64_t kHashBlockBytes = std::uint64_t{8} << 20;

/// What a file of a folder was when it was written. `blocks` has the XXH3 (hash_hex) of each block of
/// kHashBlockBytes, the last one shorter; an empty file has none.
struct FileHash {
    std::string name;
    std::uint64_t size = 0;
    std::vector<std::string> blocks;
    friend bool operator==(const FileHash&, const FileHash&) = default;
};

/// Where a file is no longer what it was: `offset` is the start of the first bad block in bytes (0 when it is
/// missing).
struct FileFault {
    std::string name;
    std::uint64_t offset = 0;
    std::string what;
};

/// Reads FOLDER/NAME. Throws MissingError and IoError.
FileHash hash_file(const std::string& folder, const std::string& name);

/// The size alone. A file that is not there is a fault, not an exception.
std::optional<FileFault> verify_size(const std::string& folder, const FileHash& expected);
/// Size and every byte. A file that is not there or cannot be read is a fault, not an exception.
std::optional<FileFault> verify_file(const std::string& folder, const FileHash& expected);

/// A JSON array of {"name", "size", "blocks"}, and back. parse_file_hashes throws DataError when it is not
/// that, and for a name that is not a plain name inside the folder.
std::string file_hashes_json(const std::vector<FileHash>& files);
std::vector<FileHash> parse_file_hashes(std::string_view json);

/// `json` is one object; what comes back is the same object with "hash" as its last member, the XXH3 of all
/// that stands before it, in a form so fixed that is_sealed() notices any changed byte. Throws DataError when
/// json is no object.
std::string sealed(std::string_view json);
/// True when `json` is, byte for byte, what sealed() made.
bool is_sealed(std::string_view json);

}  // namespace skein
