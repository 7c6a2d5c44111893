#include "checkpoint/checkpoint_folder.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "checkpoint/checkpoint.h"
#include "checkpoint/rank_file.h"
#include "model/base/error.h"
#include "model/base/file_hashes.h"

namespace skein {
namespace {

constexpr const char* kTemporary = ".tmp";
constexpr const char* kReplaced = ".replaced";
constexpr const char* kLeft = ".left";

bool exists(const std::string& path) {
    std::error_code ignored;
    return std::filesystem::exists(path, ignored);
}

/// Why a folder is no checkpoint; empty when every byte verifies.
std::string fault_of(const std::string& folder) {
    SoloCommunicator alone;
    try {
        static_cast<void>(Checkpoint::open(alone, folder));
        return {};
    } catch (const CheckpointError& error) {
        return error.what();
    }
}

std::string not_removed(const std::exception& error) {
    return text("checkpoints: cannot clean up: ", error.what());
}

/// PATH + SUFFIX, or with -2, -3, ... if that is there, and `end` behind it.
std::string free_name(const std::string& path, const std::string& suffix, const std::string& end = "") {
    std::string name = path + suffix + end;
    for (int i = 2; exists(name); ++i) name = text(path, suffix, "-", i, end);
    return name;
}

}  // namespace

void CheckpointFolder::check_ours() const {
    if (is_ours_ && !is_ours_())
        throw IoError(text(path_, ": another process has taken over this run; left alone"));
}

std::string CheckpointFolder::temporary(const std::string& name) const {
    return place(name) + kTemporary;
}

std::uint64_t CheckpointFolder::prepare(const std::string& name, std::vector<std::string>& notes) const {
    check_ours();
    create_folders(system_, path_);
    remove_leftovers(name, notes);
    std::uint64_t sequence = 1;
    for (const CheckpointEntry& entry : list_checkpoints(path_, nullptr))
        sequence = std::max(sequence, entry.sequence + 1);
    set_bad_aside(name, notes);
    create_folders(system_, temporary(name));
    return sequence;
}

/// A file that somebody holds open (NFS) or may not be removed does not keep the run from saving.
void CheckpointFolder::remove_leftovers(const std::string& name, std::vector<std::string>& notes) const {
    std::vector<std::string> leftovers;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
        if (const std::string found = entry.path().filename().string();
            found.starts_with("step-") && found.ends_with(kTemporary))
            leftovers.push_back(found);
    for (const std::string& leftover : leftovers) {
        const std::string path = place(leftover);
        try {
            remove_folder(system_, path);
        } catch (const IoError& error) {
            notes.push_back(not_removed(error));
            if (path != temporary(name)) continue;
            const std::string aside = free_name(place(name), kLeft, kTemporary);
            if (system_.rename(path.c_str(), aside.c_str()) != 0)
                throw_errno("rename " + path + " to", aside);
        }
    }
}

void CheckpointFolder::set_bad_aside(const std::string& name, std::vector<std::string>& notes) const {
    const std::string path = place(name);
    if (!exists(path)) return;
    const std::string fault = fault_of(path);
    if (fault.empty()) return;
    const std::string aside = free_name(path, ".bad");
    rename_durable(system_, path, aside);
    notes.push_back(text("checkpoint ", path, " is set aside as ", aside, ": ", fault));
}

void CheckpointFolder::write_side_files(const std::string& temporary, const std::vector<SideFile>& tokenizer,
                                        Manifest& manifest) const {
    std::set<std::string> taken{std::string(kManifestName), std::string(kModelFileName)};
    for (const FileHash& file : manifest.files) taken.insert(file.name);
    for (const SideFile& file : tokenizer) {
        if (file.name.empty() || file.name[0] == '.' || file.name.find('/') != std::string::npos ||
            !taken.insert(file.name).second)
            throw CheckpointError(text("save: found '", file.name,
                                       "' as the name of a tokenizer's file, wanted a plain "
                                       "name that nothing else in the checkpoint has"));
        FileWriter writer(system_, temporary + "/" + file.name);
        writer.write(file.bytes);
        writer.finish();
        manifest.tokenizer.push_back(file.name);
        manifest.files.push_back(hash_file(temporary, file.name));
    }
    write_model_file(system_, temporary, manifest.tensors);
    manifest.files.push_back(hash_file(temporary, std::string(kModelFileName)));
}

void CheckpointFolder::publish(const std::string& name, Manifest manifest,
                               const std::vector<SideFile>& tokenizer) const {
    check_ours();
    const std::string written = temporary(name);
    write_side_files(written, tokenizer, manifest);
    FileWriter writer(system_, written + "/" + std::string(kManifestName));
    writer.write(manifest_text(manifest));
    writer.finish();
    give_name(name);
}

/// NAME.tmp, complete and with its files durable, becomes NAME.
void CheckpointFolder::give_name(const std::string& name) const {
    const std::string path = place(name), written = temporary(name), replaced = path + kReplaced;
    sync_folder(system_, written);
    check_ours();
    const bool replaces = exists(path);  // and is good: a bad one was set aside
    if (replaces) clear(name + kReplaced);
    try {
        if (replaces) rename_durable(system_, path, replaced);
        if (system_.rename(written.c_str(), path.c_str()) != 0)
            throw_errno("rename " + written + " to", path);
    } catch (...) {
        if (replaces && !exists(path)) system_.rename(replaced.c_str(), path.c_str());
        throw;
    }
    sync_folder(system_, path_);
}

void CheckpointFolder::retire(const std::string& newest, const std::optional<BestMetric>& best,
                              std::vector<std::string>& notes) const {
    try {
        check_ours();
        int kept = 0;
        for (const CheckpointEntry& entry : list_checkpoints(path_, nullptr)) {
            const bool is_current = entry.name == checkpoint_name(entry.step);
            if (is_current && best && best->step == entry.step) continue;
            if (is_current && (kept++ < keep_ || entry.name == newest)) continue;
            remove(entry.name);
        }
    } catch (const std::exception& error) {
        notes.push_back(not_removed(error));
    }
}

void CheckpointFolder::discard(const std::string& name, std::vector<std::string>& notes) const {
    try {
        check_ours();
        remove_folder(system_, temporary(name));
    } catch (const std::exception& error) {
        notes.push_back(not_removed(error));
    }
}

/// Nothing has that name any more; what of it cannot be removed is left to the next save.
void CheckpointFolder::clear(const std::string& name) const {
    try {
        remove(name);
    } catch (const IoError&) {
        if (exists(place(name))) throw;
    }
}

/// Removes a checkpoint so that it is none from the first moment on.
void CheckpointFolder::remove(const std::string& name) const {
    const std::string path = place(name);
    if (!exists(path)) return;
    const std::string leaving =
        exists(temporary(name)) ? free_name(path, kLeft, kTemporary) : temporary(name);
    if (system_.rename(path.c_str(), leaving.c_str()) != 0) throw_errno("rename " + path + " to", leaving);
    remove_folder(system_, leaving);
}

}  // namespace skein
