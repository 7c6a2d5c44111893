#include "checkpoint/checkpoint_store.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

#include "checkpoint/rank_file.h"
#include "model/base/error.h"
#include "model/base/file_hashes.h"

namespace skein {
namespace {

constexpr const char* kTemporary = ".tmp";
constexpr const char* kReplaced = ".replaced";

/// Collective: what each rank's work gives, or an outcome that names the first rank whose work threw.
template <class Work>
SaveOutcome on_every_rank(Communicator& world, std::vector<std::string>& results, const Work& work) {
    std::string mine;
    try {
        mine = "ok" + work();
    } catch (const std::exception& error) {
        mine = text("er", error.what());
    }
    results = world.all_gather_text(mine);
    for (std::size_t rank = 0; rank < results.size(); ++rank) {
        if (results[rank].starts_with("er")) return {"", static_cast<int>(rank), results[rank].substr(2)};
        results[rank].erase(0, 2);
    }
    return {};
}

/// Collective: the same for work that only rank 0 does.
template <class Work>
SaveOutcome on_root(Communicator& world, const Work& work) {
    std::string said;
    if (world.rank() == 0) {
        try {
            work();
        } catch (const std::exception& error) {
            said = *error.what() != '\0' ? error.what() : "failed without a reason";
        }
    }
    said = world.broadcast_text(said, 0);
    if (!said.empty()) return {"", 0, said};
    return {};
}

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

/// What the ranks told about their files, put together. The texts are "HASH HASH ...\n[file hash as JSON]".
Manifest assemble(const CheckpointState& state, const std::vector<SharePiece>& pieces,
                  const std::vector<std::string>& told) {
    Manifest manifest;
    manifest.run = state.run;
    std::vector<std::istringstream> hashes;
    for (const std::string& one : told) {
        const std::size_t end = one.find('\n');
        hashes.emplace_back(one.substr(0, end));
        for (FileHash& file : parse_file_hashes(std::string_view(one).substr(end)))
            manifest.files.push_back(std::move(file));
    }
    for (const StateTensor& tensor : state.tensors)
        manifest.tensors.push_back({tensor.name, tensor.dtype, tensor.global_shape, {}});
    for (const SharePiece& piece : pieces) {
        TensorRecord& tensor = manifest.tensors[piece.tensor];
        TensorPiece& record = tensor.pieces.emplace_back();
        record = {rank_file_name(piece.rank),
                  dataset_name(state.tensors[piece.tensor], piece),
                  piece.box.start,
                  piece.box.count,
                  {}};
        hashes[static_cast<std::size_t>(piece.rank)] >> record.hash;
    }
    return manifest;
}

}  // namespace

CheckpointStore::CheckpointStore(std::string folder, int keep, Warn warn, FileSystem& system)
    : folder_(std::move(folder)), keep_(keep), warn_(std::move(warn)), system_(system) {
    if (keep < 1) throw ConfigError(text("checkpoint.keep: found ", keep, ", wanted at least 1"));
}

SaveOutcome CheckpointStore::save(Communicator& world, const CheckpointState& state) {
    const std::vector<SharePiece> pieces = agree_on_shares(world, state.tensors);
    const std::string name = checkpoint_name(state.run.step), temporary = folder_ + "/" + name + kTemporary;

    std::uint64_t sequence = 0;
    std::vector<std::string> told;
    SaveOutcome outcome = on_root(world, [&] { sequence = prepare(name); });
    if (outcome)
        outcome = on_every_rank(world, told, [&] {
            std::string hashes;
            for (const std::string& hash :
                 write_rank_file(system_, temporary, world.rank(), state.tensors, pieces))
                hashes += hash + " ";
            return hashes + "\n" + file_hashes_json({hash_file(temporary, rank_file_name(world.rank()))});
        });
    if (outcome)
        outcome = on_root(world, [&] {
            Manifest manifest = assemble(state, pieces, told);
            manifest.sequence = sequence;
            write_side_files(temporary, state, manifest);
            FileWriter writer(system_, temporary + "/" + std::string(kManifestName));
            writer.write(manifest_text(manifest));
            writer.finish();
            publish(name);
        });
    if (outcome) outcome.folder = folder_ + "/" + name;
    if (world.rank() == 0) {
        try {
            if (outcome)
                retire(name, state.run.best);
            else
                remove_folder(system_, temporary);
        } catch (const std::exception& error) {
            if (warn_) warn_(text("checkpoints: cannot clean up: ", error.what()));
        }
    }
    return outcome;
}

/// Makes room for NAME and its empty temporary folder; gives the new checkpoint's place in the sequence.
std::uint64_t CheckpointStore::prepare(const std::string& name) {
    create_folders(system_, folder_);
    std::vector<std::string> leftovers;
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
        if (const std::string found = entry.path().filename().string();
            found.starts_with("step-") && found.ends_with(kTemporary))
            leftovers.push_back(found);
    for (const std::string& leftover : leftovers) remove_folder(system_, folder_ + "/" + leftover);

    std::uint64_t sequence = 1;
    for (const CheckpointEntry& entry : list_checkpoints(folder_, nullptr))
        sequence = std::max(sequence, entry.sequence + 1);
    set_bad_aside(name);
    create_folders(system_, folder_ + "/" + name + kTemporary);
    return sequence;
}

void CheckpointStore::set_bad_aside(const std::string& name) {
    const std::string path = folder_ + "/" + name;
    if (!exists(path)) return;
    const std::string fault = fault_of(path);
    if (fault.empty()) return;
    std::string aside = path + ".bad";
    for (int i = 2; exists(aside); ++i) aside = text(path, ".bad-", i);
    rename_durable(system_, path, aside);
    if (warn_) warn_(text("checkpoint ", path, " is set aside as ", aside, ": ", fault));
}

void CheckpointStore::write_side_files(const std::string& temporary, const CheckpointState& state,
                                       Manifest& manifest) {
    std::set<std::string> taken{std::string(kManifestName), std::string(kModelFileName)};
    for (const FileHash& file : manifest.files) taken.insert(file.name);
    for (const SideFile& file : state.tokenizer) {
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

/// NAME.tmp, complete and with its files durable, becomes NAME.
void CheckpointStore::publish(const std::string& name) {
    const std::string path = folder_ + "/" + name, temporary = path + kTemporary, replaced = path + kReplaced;
    sync_folder(system_, temporary);
    const bool replaces = exists(path);  // and is good: a bad one was set aside
    if (replaces) remove(name + kReplaced);
    try {
        if (replaces) rename_durable(system_, path, replaced);
        if (system_.rename(temporary.c_str(), path.c_str()) != 0)
            throw_errno("rename " + temporary + " to", path);
    } catch (...) {
        if (replaces && !exists(path)) system_.rename(replaced.c_str(), path.c_str());
        throw;
    }
    sync_folder(system_, folder_);
}

/// Removes what is neither among the newest nor the best. `newest` is durable.
void CheckpointStore::retire(const std::string& newest, const std::optional<BestMetric>& best) {
    int kept = 0;
    for (const CheckpointEntry& entry : list_checkpoints(folder_, nullptr)) {
        const bool is_current = entry.name == checkpoint_name(entry.step);
        if (is_current && best && best->step == entry.step) continue;
        if (is_current && (kept++ < keep_ || entry.name == newest)) continue;
        remove(entry.name);
    }
}

/// Removes a checkpoint so that it is none from the first moment on.
void CheckpointStore::remove(const std::string& name) {
    const std::string path = folder_ + "/" + name, leaving = path + kTemporary;
    if (!exists(path)) return;
    if (system_.rename(path.c_str(), leaving.c_str()) != 0) throw_errno("rename " + path + " to", leaving);
    remove_folder(system_, leaving);
}

}  // namespace skein
