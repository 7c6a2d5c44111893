#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <sstream>

#include "checkpoint/rank_file.h"
#include "model/base/error.h"
#include "model/base/file_hashes.h"
#include "model/base/files.h"

namespace skein {
namespace {

/// Collective: `work` runs on rank 0 and gives a text, which all get; its error is thrown on all.
template <class Work>
std::string from_root(Communicator& world, const Work& work) {
    std::string said;
    if (world.rank() == 0) {
        try {
            said = "ok" + work();
        } catch (const MissingError& error) {
            said = text("no", error.what());
        } catch (const std::exception& error) {
            said = text("er", error.what());
        }
    }
    said = world.broadcast_text(said, 0);
    if (said.starts_with("no")) throw MissingError(said.substr(2));
    if (said.starts_with("er")) throw CheckpointError(said.substr(2));
    return said.substr(2);
}

/// Collective: throws the error of the first rank that has one; empty: none.
void throw_first(Communicator& world, const std::string& mine) {
    const std::vector<std::string> all = world.all_gather_text(mine);
    for (std::size_t rank = 0; rank < all.size(); ++rank)
        if (!all[rank].empty())
            throw CheckpointError(world.size() == 1 ? all[rank] : text("rank ", rank, ": ", all[rank]));
}

std::string joined(const std::vector<std::string>& names) {
    std::string out;
    for (const std::string& name : names) out += name + "\n";
    return out;
}

std::vector<std::string> split(const std::string& lines) {
    std::vector<std::string> out;
    std::istringstream in(lines);
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
}

bool is_checkpoint_name(std::string_view name) {
    constexpr std::string_view kStart = "step-", kReplaced = ".replaced";
    if (!name.starts_with(kStart)) return false;
    name.remove_prefix(kStart.size());
    if (name.ends_with(kReplaced)) name.remove_suffix(kReplaced.size());
    return !name.empty() && name.find_first_not_of("0123456789") == std::string_view::npos;
}

std::optional<Checkpoint> first_good(Communicator& world, const std::vector<std::string>& folders,
                                     const Warn& warn) {
    for (const std::string& folder : folders) {
        try {
            return Checkpoint::open(world, folder);
        } catch (const CheckpointError& error) {
            if (world.rank() == 0 && warn)
                warn(text("checkpoint ", folder, " is passed over: ", error.what()));
        }
    }
    return std::nullopt;
}

/// Folders to try for `--checkpoint PATH`, best first.
std::vector<std::string> choices(const std::string& path, const Warn& warn) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    if (!fs::is_directory(path, ignored))
        throw MissingError(text(path, ": no such folder, wanted a checkpoint or a run"));
    if (fs::exists(path + "/" + std::string(kManifestName), ignored)) return {path};
    const std::string inside = path + "/checkpoints";
    const std::string folder = fs::is_directory(inside, ignored) ? inside : path;
    const std::vector<CheckpointEntry> entries = list_checkpoints(folder, warn);
    if (entries.empty())
        throw MissingError(text(path, ": found no checkpoint, wanted a folder with ", kManifestName,
                                " or a run's folder with checkpoints"));
    std::vector<std::string> out;
    const auto add = [&](const std::string& name) {
        if (std::find(out.begin(), out.end(), folder + "/" + name) == out.end())
            out.push_back(folder + "/" + name);
    };
    if (const auto& best = entries.front().best)  // an older manifest's is of another measure, or was beaten
        for (const CheckpointEntry& entry : entries)
            if (entry.step == best->step) add(entry.name);
    for (const CheckpointEntry& entry : entries) add(entry.name);
    return out;
}

}  // namespace

Checkpoint Checkpoint::open(Communicator& world, const std::string& folder) {
    const std::string path = folder + "/" + std::string(kManifestName);
    const std::string bytes = from_root(world, [&]() -> std::string {
        try {
            std::string read = read_file(path);
            static_cast<void>(parse_manifest(read, path));  // every rank's parse will go as this one
            return read;
        } catch (const MissingError& error) {
            throw CheckpointError(error.what());
        }
    });
    Checkpoint out(folder, parse_manifest(bytes, path));
    std::string mine;
    for (std::size_t i = static_cast<std::size_t>(world.rank());
         i < out.manifest_.files.size() && mine.empty(); i += static_cast<std::size_t>(world.size()))
        if (const auto fault = verify_file(folder, out.manifest_.files[i]))
            mine = text(folder, "/", fault->name, ": ", fault->what);
    throw_first(world, mine);
    return out;
}

void Checkpoint::check_tensors(std::span<const StateTensor> tensors, std::string_view prefix) const {
    std::map<std::string_view, const StateTensor*> wanted;
    for (const StateTensor& tensor : tensors) wanted[tensor.name] = &tensor;
    for (const TensorRecord& found : manifest_.tensors) {
        if (!found.name.starts_with(prefix)) continue;
        const auto entry = wanted.find(found.name);
        if (entry == wanted.end())
            throw CheckpointError(text(folder_, ": found ", found.name, " ", name_of(found.dtype), " ",
                                       found.shape, ", which this model does not have"));
        const StateTensor& tensor = *entry->second;
        if (tensor.dtype != found.dtype || tensor.global_shape != found.shape)
            throw CheckpointError(text(folder_, ": ", found.name, ": found ", name_of(found.dtype), " ",
                                       found.shape, ", wanted ", name_of(tensor.dtype), " ",
                                       tensor.global_shape));
        wanted.erase(entry);
    }
    for (const StateTensor& tensor : tensors) {
        if (wanted.contains(tensor.name))
            throw CheckpointError(text(folder_, ": has no ", tensor.name, ", wanted ", name_of(tensor.dtype),
                                       " ", tensor.global_shape));
        if (const std::string fault = fault_of_parts(tensor); !fault.empty())
            throw CheckpointError("load: " + fault);
    }
}

void Checkpoint::load(Communicator& world, std::span<const StateTensor> tensors,
                      std::string_view prefix) const {
    std::string mine;
    try {
        check_tensors(tensors, prefix);
        std::map<std::string_view, const TensorRecord*> records;
        for (const TensorRecord& record : manifest_.tensors) records[record.name] = &record;
        PieceReader reader(folder_);
        for (const StateTensor& tensor : tensors)
            for (const StateTensor::Part& part : tensor.parts)
                reader.read(*records.at(tensor.name), part.box, part.bytes);
    } catch (const std::exception& error) {
        mine = error.what();
    }
    throw_first(world, mine);
}

std::string checkpoint_name(std::uint64_t step) {
    char name[40];
    std::snprintf(name, sizeof name, "step-%08llu", static_cast<unsigned long long>(step));
    return name;
}

std::vector<CheckpointEntry> list_checkpoints(const std::string& folder, const Warn& warn) {
    std::vector<CheckpointEntry> out;
    std::error_code failure;
    std::filesystem::directory_iterator entry(folder, failure);
    if (failure == std::errc::no_such_file_or_directory) return out;
    for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
        const std::string name = entry->path().filename().string();
        if (!is_checkpoint_name(name)) continue;
        try {
            const Manifest manifest = read_manifest(folder + "/" + name);
            out.push_back({name, manifest.sequence, manifest.run.step, manifest.run.best});
        } catch (const CheckpointError& error) {
            if (warn) warn(text("checkpoint ", folder, "/", name, " is passed over: ", error.what()));
        }
    }
    if (failure) throw IoError(text("list ", folder, ": ", failure.message()));
    std::sort(out.begin(), out.end(), [](const CheckpointEntry& a, const CheckpointEntry& b) {
        if (a.sequence != b.sequence) return a.sequence > b.sequence;
        return a.step != b.step ? a.step > b.step : a.name < b.name;
    });
    return out;
}

std::optional<Checkpoint> newest_checkpoint(Communicator& world, const std::string& folder,
                                            const Warn& warn) {
    const std::string folders = from_root(world, [&] {
        std::vector<std::string> names;
        for (const CheckpointEntry& entry : list_checkpoints(folder, warn))
            names.push_back(folder + "/" + entry.name);
        return joined(names);
    });
    return first_good(world, split(folders), warn);
}

Checkpoint find_checkpoint(Communicator& world, const std::string& path, const Warn& warn) {
    const std::vector<std::string> folders =
        split(from_root(world, [&] { return joined(choices(path, warn)); }));
    if (folders.size() == 1) return Checkpoint::open(world, folders.front());
    if (auto found = first_good(world, folders, warn)) return *std::move(found);
    throw CheckpointError(text(path, ": none of its ", folders.size(), " checkpoints is good"));
}

}  // namespace skein
