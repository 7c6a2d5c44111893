#include "launch/memory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "model/base/error.h"
#include "trainer/option_values.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

std::size_t total_memory(const fs::path& root) {
    std::ifstream info(root / "proc/meminfo");
    for (std::string word; info >> word;)
        if (std::size_t kibibytes = 0; word == "MemTotal:" && info >> kibibytes) return kibibytes * 1024;
    return 0;
}

// The number in a control group's file; a group without a limit has "max" there, or nearly 2^63.
void limit_by(const fs::path& file, std::size_t& memory) {
    std::ifstream limit(file);
    if (std::size_t bytes = 0; limit >> bytes && bytes > 0) memory = std::min(memory, bytes);
}

}  // namespace

std::size_t parse_size(const std::string& option, const std::string& value) {
    constexpr std::string_view kUnits = "KMGT";
    std::string_view digits = value;
    double unit = 1.0;
    if (const std::size_t at = value.empty() ? std::string::npos : kUnits.find(value.back());
        at != std::string::npos) {
        for (std::size_t i = 0; i <= at; ++i) unit *= 1024.0;
        digits.remove_suffix(1);
    }
    const std::optional<double> number = parse_number(digits);
    if (!number || *number <= 0.0 || *number * unit > 0x1p60)
        throw ConfigError(text("option --", option, ": found '", value,
                               "', allowed is a size such as 80G, 512M or 1.5T, in bytes without a letter"));
    return static_cast<std::size_t>(*number * unit);
}

std::size_t host_memory(const std::string& root) {
    std::size_t memory = total_memory(root);
    if (memory == 0) return 0;
    // of both versions; a limit holds for all that is below it
    std::ifstream groups(fs::path(root) / "proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
        const std::size_t first = line.find(':'), second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const bool unified = controllers.empty(), old = controllers == "memory";
        if (!unified && !old) continue;
        const fs::path mount = fs::path(root) / (unified ? "sys/fs/cgroup" : "sys/fs/cgroup/memory");
        for (fs::path group = line.substr(second + 1);; group = group.parent_path()) {
            limit_by(mount / group.relative_path() / (unified ? "memory.max" : "memory.limit_in_bytes"),
                     memory);
            if (!group.has_relative_path()) break;
        }
    }
    return memory;
}

RankMemory memory_of_a_rank(const std::optional<Gpu>& gpu, const MpiSession& session) {
    const int local = session.local_size();
    if (gpu) {
        const int gpus = std::max(1, find_gpus().count), sharing = (local + gpus - 1) / gpus;
        return {free_memory_of(*gpu) / static_cast<std::size_t>(sharing),
                sharing > 1 ? text("of a GPU for ", sharing, " ranks") : "free on the GPU"};
    }
    return {host_memory() / static_cast<std::size_t>(local),
            local > 1 ? text("of this machine for ", local, " ranks") : "of this machine"};
}

}  // namespace skein
