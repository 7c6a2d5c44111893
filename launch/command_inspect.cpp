#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/inspect.h"
#include "data/data_folder.h"
#include "launch/command.h"
#include "launch/commands.h"
#include "launch/failure.h"
#include "model/base/error.h"
#include "trainer/run_accounts.h"

namespace skein {

namespace {

using Json = nlohmann::ordered_json;

std::uint64_t total_bytes(const std::vector<FileHash>& files) {
    std::uint64_t bytes = 0;
    for (const FileHash& file : files) bytes += file.size;
    return bytes;
}

Json shards_json(const std::vector<ShardEntry>& shards) {
    Json all = Json::array();
    for (const ShardEntry& shard : shards) {
        Json& entry = all.emplace_back(
            Json{{"name", shard.name}, {"tokens", shard.tokens}, {"documents", shard.documents}});
        if (shard.source_tokens > 0) entry["source_tokens"] = shard.source_tokens;
    }
    return all;
}

/// Where the first fault is; what follows the first is counted.
std::string fault_message(const std::string& folder, const std::string& file, std::uint64_t offset,
                          const std::string& what, std::size_t faults) {
    std::string message = text(folder, "/", file, ": damaged from byte ", offset, " on: ", what);
    if (faults > 1) message += text(" (and ", faults - 1, " more)");
    return message;
}

void print(const Json& json, bool as_json) {
    if (as_json) {
        std::cout << json.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
        return;
    }
    for (const auto& [name, value] : json.items()) {
        if (value.is_array() || value.is_object()) {
            std::cout << name << ":\n";
            for (const auto& [key, entry] : value.items()) {
                std::cout << "  " << (value.is_array() ? "" : key + " ")
                          << entry.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
            }
        } else {
            std::cout << name << ": " << (value.is_string() ? value.get<std::string>() : value.dump())
                      << "\n";
        }
    }
    std::cout << std::flush;
}

int inspect_data(const std::string& path, bool as_json) {
    const DataReport report = verify_data_folder(path);
    Json json{{"kind", "data"}, {"folder", path}, {"good", report.faults.empty()}};
    if (report.folder) {
        const DataFolder& folder = *report.folder;
        json["samples"] = std::string(name_of(folder.kind));
        if (folder.kind == DataKind::kPairs) {
            json.update(Json{{"source_vocabulary", folder.source_header.vocab_size},
                             {"joint", folder.pair_header().is_joint()},
                             {"train_pairs", folder.train_documents()},
                             {"valid_pairs", folder.valid_documents()},
                             {"dropped", folder.dropped}});
        } else {
            json["documents"] = folder.documents;
        }
        json.update(Json{{"tokenizer", folder.header.tokenizer},
                         {"vocabulary", folder.header.vocab_size},
                         {"train_tokens", folder.train_tokens()},
                         {"valid_tokens", folder.valid_tokens()},
                         {"bytes", total_bytes(folder.files)},
                         {"fingerprint", folder.fingerprint},
                         {"has_index", folder.has_index},
                         {"train", shards_json(folder.train)},
                         {"valid", shards_json(folder.valid)}});
    }
    Json faults = Json::array();
    for (const FileFault& fault : report.faults) {
        faults.push_back({{"file", fault.name}, {"offset", fault.offset}, {"what", fault.what}});
    }
    json["faults"] = faults;
    print(json, as_json);
    if (report.faults.empty()) return kExitDone;
    const FileFault& first = report.faults.front();
    throw DataError(fault_message(path, first.name, first.offset, first.what, report.faults.size()));
}

/// What the manifest says, flat, for people and scripts.
void add_manifest(const Manifest& manifest, Json& json) {
    const RunState& run = manifest.run;
    std::int64_t elements = 0;
    for (const TensorRecord& tensor : manifest.tensors) {
        if (tensor.name.starts_with(kParametersPrefix)) elements += tensor.shape.elements();
    }
    json.update(Json{{"step", run.step},
                     {"updates", run.updates},
                     {"epoch", run.place.epoch},
                     {"window", run.place.window},
                     {"samples", run.place.samples},
                     {"parameter_count", elements},
                     {"tensors", manifest.tensors.size()},
                     {"files", manifest.files.size() + 1},
                     {"bytes", total_bytes(manifest.files)},
                     {"ranks", run.grid.data * run.grid.tensor},
                     {"restarts", run.restarts},
                     {"seconds", run.seconds}});
    if (run.best) json["best"] = Json{{"value", run.best->value}, {"step", run.best->step}};
    Json configuration = Json::object();
    for (const auto& [name, value] : run.configuration) configuration[name] = value;
    Json leans_on = Json::object();
    for (const auto& [name, value] : run.leans_on) leans_on[name] = value;
    json["configuration"] = configuration;
    json["leans_on"] = leans_on;
}

/// Where a run's time went, over all its starts.
void add_run_totals(const std::string& run, Json& json) {
    const std::optional<RunTotals> totals = read_run_totals(run);
    if (!totals) return;
    Json& runs = json["runs"];
    runs = Json{
        {"starts", totals->starts}, {"productive", totals->productive}, {"lost", totals->lost},
        {"saving", totals->saving}, {"evaluating", totals->evaluating}, {"restarting", totals->restarting}};
    if (totals->other > 0.0) runs["other"] = totals->other;
    if (const std::optional<double> useful = totals->useful()) runs["useful"] = *useful;
}

/// `run`: the folder of the run that it is the newest one of; empty: it was asked for itself.
int inspect_one_checkpoint(const std::string& path, const std::string& run, bool as_json) {
    const CheckpointInspection inspection = inspect_checkpoint(path);
    Json json{{"kind", "checkpoint"},
              {"folder", path},
              {"good", inspection.faults.empty()},
              {"parameters", inspection.parameters_hash},
              {"state", inspection.state_hash}};
    if (inspection.manifest) add_manifest(*inspection.manifest, json);
    if (!run.empty()) add_run_totals(run, json);
    Json faults = Json::array();
    for (const CheckpointFault& fault : inspection.faults) {
        faults.push_back(
            {{"file", fault.file}, {"offset", fault.offset}, {"tensor", fault.tensor}, {"what", fault.what}});
    }
    json["faults"] = faults;
    print(json, as_json);
    if (inspection.faults.empty()) return kExitDone;
    const CheckpointFault& first = inspection.faults.front();
    const std::string what = first.tensor.empty() ? first.what : first.tensor + ": " + first.what;
    throw CheckpointError(fault_message(path, first.file, first.offset, what, inspection.faults.size()));
}

bool is_checkpoint(const std::filesystem::path& path) {
    return std::filesystem::exists(path / kManifestName) || std::filesystem::exists(path / kModelFileName) ||
           std::filesystem::exists(path / "rank-00000.h5");
}

/// The newest checkpoint of a run's folder; empty when `path` is no such folder. Throws CheckpointError when
/// one there has a manifest that does not verify: nobody can say whether it is the newest.
std::string newest_of_run(const std::filesystem::path& path) {
    const std::filesystem::path checkpoints = path / "checkpoints";
    if (!std::filesystem::is_directory(checkpoints)) return {};
    std::string damaged;
    const auto warn = [&](const std::string& line) { damaged = line; };
    const std::vector<CheckpointEntry> entries = list_checkpoints(checkpoints.string(), warn);
    if (!damaged.empty()) throw CheckpointError(damaged);
    if (entries.empty())
        throw MissingError(text("inspect ", checkpoints.string(), ": found no checkpoint in it"));
    return (checkpoints / entries.front().name).string();
}

int run_inspect(const Arguments& arguments) {
    if (arguments.positional.empty()) {
        throw ConfigError("found no folder, wanted skein inspect DIR, a data folder, a checkpoint or a run");
    }
    const std::string& path = arguments.positional.front();
    const bool as_json = arguments.has("json");
    if (!std::filesystem::is_directory(path))
        throw MissingError(text("inspect ", path, ": there is no such folder"));
    if (is_checkpoint(path)) return inspect_one_checkpoint(path, "", as_json);
    const std::string newest = newest_of_run(path);
    return newest.empty() ? inspect_data(path, as_json) : inspect_one_checkpoint(newest, path, as_json);
}

}  // namespace

Command inspect_command() {
    Command command;
    command.name = "inspect";
    command.summary = "what is in a data folder or a checkpoint, and whether every byte is as it was written";
    command.usage = "DIR [--json]      a data folder, a checkpoint, or a run (its newest checkpoint)";
    command.options = {
        {.name = "json", .value = "", .help = "one line of JSON", .kind = CommandOption::Kind::kFlag}};
    command.most_positional = 1;
    command.run = run_inspect;
    return command;
}

}  // namespace skein
