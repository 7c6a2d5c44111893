#include "data/prepare_output.h"

#include <algorithm>
#include <filesystem>

#include "model/base/error.h"

namespace skein {
namespace {

constexpr const char* kPartialName = "prepare.partial";
constexpr std::uint64_t kMostSampleLines = 2'000'000, kMostSampleBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kProgressBytes = std::uint64_t{4} << 20;

bool is_valid_text_name(const std::string& name) {
    return name == "valid.txt" || name == "valid.source" || name == "valid.target";
}

bool is_tokenizer_name(std::string name) {
    if (name.starts_with(kSourceTokenizerPrefix))
        name.erase(0, std::string_view(kSourceTokenizerPrefix).size());
    return name == "tokenizer.json" || name == "tokenizer.model";
}

/// Files in OUT with names that are skein's in a data folder.
std::vector<std::string> own_files(const std::string& folder) {
    return list_files(folder, [](const std::string& name) {
        return is_shard_name(name) || name == kIndexName || is_valid_text_name(name) ||
               is_tokenizer_name(name);
    });
}

/// From OUT/prepare.partial to OUT, so that at any moment OUT is the old folder, refused, or the new one.
void move_into_place(const std::string& partial, const DataFolder& folder, FileSystem& system) {
    const std::string& out = folder.path;
    const std::string marker = out + "/" + kUnfinishedName;
    write_file_atomic(system, marker,
                      "skein prepare was moving a data set into this folder; prepare it again\n");
    for (const std::string& name : own_files(out))
        if (system.unlink((out + "/" + name).c_str()) != 0) throw_errno("replace", out + "/" + name);
    for (const FileHash& file : folder.files) {
        const std::string from = partial + "/" + file.name, to = out + "/" + file.name;
        if (system.rename(from.c_str(), to.c_str()) != 0) throw_errno("rename " + from + " to", to);
    }
    sync_folder(system, out);
    write_file_atomic(system, out + "/" + kIndexName, make_index(folder));
    if (system.unlink(marker.c_str()) != 0) throw_errno("remove", marker);
    sync_folder(system, out);
}

}  // namespace

Meter::Meter(const std::function<void(const PrepareProgress&)>& call, std::string phase, std::uint64_t total)
    : call_(call), now_{std::move(phase), 0, total} {
    if (call_) call_(now_);
}

void Meter::add(std::uint64_t bytes) {
    now_.done += bytes;
    if (!call_ || now_.done - shown_ < kProgressBytes) return;
    shown_ = now_.done;
    call_(now_);
}

void Meter::finish() {
    now_.done = now_.total;
    if (call_) call_(now_);
}

LineSample::LineSample(std::uint64_t lines, std::uint64_t bytes)
    : share_(std::min({1.0, static_cast<double>(kMostSampleLines) / static_cast<double>(lines + 1),
                       static_cast<double>(kMostSampleBytes) / static_cast<double>(bytes)})),
      owed_(1.0 - share_) {}

void LineSample::offer(std::string_view line) {
    if (line.empty()) return;
    owed_ += share_;
    if (owed_ < 1.0) return;
    owed_ -= 1.0;
    lines_.emplace_back(line);
}

void require_fraction(double fraction) {
    if (!(fraction >= 0 && fraction < 1))
        throw ConfigError(text("valid-fraction: found ", fraction, ", wanted 0 up to, but not, 1"));
}

void require_replaceable(const std::string& out) {
    const auto has = [&](const char* name) { return std::filesystem::exists(out + "/" + name); };
    if (!std::filesystem::is_directory(out) || has(kIndexName) || has(kUnfinishedName)) return;
    if (const auto names = own_files(out); !names.empty())
        throw ConfigError(text("out: ", out, " holds ", names.front(),
                               ", which skein prepare did not write: give another"));
}

DataFolder make_data_folder(DataFolder folder, FileSystem& system, const WriteDataFolder& write) {
    create_folders(system, folder.path);
    const std::string partial = folder.path + "/" + kPartialName;
    std::filesystem::remove_all(partial);
    try {
        create_folders(system, partial);
        const std::vector<std::string> others = write(partial, folder);
        for (const auto* shards : {&folder.train, &folder.valid})
            for (const ShardEntry& shard : *shards) folder.files.push_back(hash_file(partial, shard.name));
        for (const std::string& name : {folder.tokenizer_file, folder.source_tokenizer_file})
            if (!name.empty()) folder.files.push_back(hash_file(partial, name));
        for (const std::string& name : others) folder.files.push_back(hash_file(partial, name));
        sync_folder(system, partial);
        move_into_place(partial, folder, system);
    } catch (...) {
        std::error_code ignored;
        std::filesystem::remove_all(partial, ignored);
        throw;
    }
    std::error_code ignored;
    std::filesystem::remove_all(partial, ignored);
    return open_data_folder(folder.path, DataCheck::kSizes);
}

}  // namespace skein
