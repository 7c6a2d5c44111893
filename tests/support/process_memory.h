#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace skein {

/// Overwrites the first bytes of every place in a process's own writable memory that holds `pattern`, as a
/// cosmic ray would; gives how many places there were. The process must be a descendant of this one.
inline int overwrite_in_memory(pid_t pid, std::string_view pattern, std::string_view with) {
    constexpr std::size_t kPiece = std::size_t{16} << 20, kMost = std::size_t{1} << 30;
    const std::string folder = "/proc/" + std::to_string(pid);
    std::ifstream maps(folder + "/maps");
    std::fstream memory(folder + "/mem", std::ios::binary | std::ios::in | std::ios::out);
    std::vector<char> bytes;
    int places = 0;
    for (std::string line; std::getline(maps, line);) {
        std::uint64_t begin = 0, end = 0;
        char dash = 0;
        std::string rights;
        std::istringstream(line) >> std::hex >> begin >> dash >> end >> rights;
        if (!rights.starts_with("rw-p") || end - begin > kMost) continue;  // or a sanitizer's shadow
        for (std::uint64_t at = begin; at < end; at += kPiece) {
            bytes.resize(std::min<std::uint64_t>(end - at, kPiece + pattern.size() - 1));
            memory.clear();
            memory.seekg(static_cast<std::streamoff>(at));
            if (!memory.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) continue;
            for (auto found = bytes.begin();; ++found, ++places) {
                found = std::search(found, bytes.end(), pattern.begin(), pattern.end());
                if (found == bytes.end()) break;
                memory.seekp(static_cast<std::streamoff>(at) + (found - bytes.begin()));
                memory.write(with.data(), static_cast<std::streamsize>(with.size()));
                memory.flush();
            }
        }
    }
    return places;
}

}  // namespace skein
