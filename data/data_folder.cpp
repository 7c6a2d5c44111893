#include "data/data_folder.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "data/sha256.h"
#include "model/base/error.h"
#include "model/base/hash.h"

namespace skein {
namespace {

using Json = nlohmann::ordered_json;

/// PREFIX-NNNNN.h5
bool is_shard_of(const std::string& name, const std::string& prefix) {
    const std::string start = prefix + "-", end = ".h5";
    if (name.size() <= start.size() + end.size() || !name.starts_with(start) || !name.ends_with(end))
        return false;
    const auto first = name.begin() + static_cast<std::ptrdiff_t>(start.size());
    return std::all_of(first, name.end() - 3, [](char c) { return c >= '0' && c <= '9'; });
}

std::vector<std::string> shard_names(const std::string& folder, const std::string& prefix) {
    return list_files(folder, [&](const std::string& name) { return is_shard_of(name, prefix); });
}

Json to_json(const std::vector<ShardEntry>& shards) {
    Json out = Json::array();
    for (const ShardEntry& shard : shards)
        out.push_back({{"name", shard.name}, {"tokens", shard.tokens}, {"documents", shard.documents}});
    return out;
}

std::vector<ShardEntry> shards_from(const nlohmann::json& json) {
    std::vector<ShardEntry> out;
    for (const auto& entry : json)
        out.push_back({entry.at("name").get<std::string>(), entry.at("tokens").get<std::uint64_t>(),
                       entry.at("documents").get<std::uint64_t>()});
    return out;
}

DataFolder parse_index(const std::string& path) {
    const std::string name = path + "/" + kIndexName, bytes = read_file(name);
    if (!is_sealed(bytes))
        throw DataError(text(name, ": is not as it was written (its own hash does not fit)"));
    DataFolder out;
    out.path = path;
    out.has_index = true;
    out.fingerprint = hash_hex(bytes);
    try {
        const nlohmann::json json = nlohmann::json::parse(bytes);
        if (json.at("format") != "skein-data" || json.at("version") != 1 || json.at("kind") != "stream")
            throw DataError(text(name, ": found ", json.at("format").dump(), " version ",
                                 json.at("version").dump(), " of kind ", json.at("kind").dump(),
                                 ", wanted \"skein-data\" version 1 of kind \"stream\""));
        json.at("vocab_size").get_to(out.header.vocab_size);
        json.at("tokenizer").get_to(out.header.tokenizer);
        json.at("tokenizer_sha256").get_to(out.header.tokenizer_sha256);
        json.at("tokenizer_file").get_to(out.tokenizer_file);
        json.at("documents").get_to(out.documents);
        out.train = shards_from(json.at("train"));
        out.valid = shards_from(json.at("valid"));
        out.files = parse_file_hashes(json.at("files").dump());
    } catch (const nlohmann::json::exception& error) {
        throw DataError(text(name, ": ", error.what()));
    }
    return out;
}

/// Shards that are there and not listed, listed and without hashes, or twice.
std::vector<FileFault> check_listing(const DataFolder& folder) {
    std::vector<FileFault> faults;
    std::set<std::string> hashed, listed;
    for (const FileHash& file : folder.files)
        if (!hashed.insert(file.name).second)
            faults.push_back({kIndexName, 0, "lists " + file.name + " twice"});
    for (const auto* shards : {&folder.train, &folder.valid})
        for (const ShardEntry& shard : *shards)
            if (!listed.insert(shard.name).second || !hashed.contains(shard.name))
                faults.push_back({kIndexName, 0, "does not list " + shard.name + " once, with its hashes"});
    for (const char* prefix : {"train", "valid"})
        for (const std::string& name : shard_names(folder.path, prefix))
            if (!listed.contains(name))
                faults.push_back({name, 0, "is a shard that index.json does not list"});
    return faults;
}

DataFolder scan_folder(const std::string& path) {
    DataFolder out;
    out.path = path;
    StreamingHash fingerprint;
    for (const char* prefix : {"train", "valid"})
        for (const std::string& name : shard_names(path, prefix)) {
            const TokenShard shard(path + "/" + name);
            auto& shards = std::string_view(prefix) == "train" ? out.train : out.valid;
            if (out.train.empty() && out.valid.empty()) out.header = shard.header();
            shards.push_back({name, shard.tokens(), shard.documents()});
            fingerprint.update(text(name, " ", shard.tokens(), " ", shard.documents(), " ",
                                    shard.header().vocab_size, " ", shard.header().tokenizer_sha256, "\n"));
        }
    out.tokenizer_file = find_tokenizer_file(path).value_or("");
    out.fingerprint = fingerprint.hex();
    return out;
}

std::string describe(const std::string& path, const FileFault& fault) {
    return text(path, "/", fault.name, ": ", fault.what);
}

void check_tokenizer(const DataFolder& folder) {
    if (folder.tokenizer_file.empty()) {
        if (folder.has_index) throw DataError(text(folder.path, "/", kIndexName, ": names no tokenizer"));
        return;
    }
    const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(folder.path);
    const std::string file = folder.path + "/" + folder.tokenizer_file;
    if (const std::string found = sha256_of(*tokenizer);
        !folder.header.tokenizer_sha256.empty() && found != folder.header.tokenizer_sha256)
        throw DataError(text(file, ": has sha256 ", found, ", the shards were made with ",
                             folder.header.tokenizer_sha256));
    if (tokenizer->vocab_size() != folder.header.vocab_size)
        throw DataError(text(file, ": has a vocabulary of ", tokenizer->vocab_size(), ", the shards have ",
                             folder.header.vocab_size));
}

void require_folder(const std::string& path) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(path, ignored)) throw MissingError(text(path, ": no such folder"));
}

std::uint64_t sum_tokens(const std::vector<ShardEntry>& shards) {
    std::uint64_t sum = 0;
    for (const ShardEntry& shard : shards) sum += shard.tokens;
    return sum;
}

bool has_file(const std::string& path) {
    std::error_code ignored;
    return std::filesystem::exists(path, ignored);
}

}  // namespace

bool is_shard_name(const std::string& name) {
    return is_shard_of(name, "train") || is_shard_of(name, "valid");
}

std::vector<std::string> list_files(const std::string& folder,
                                    const std::function<bool(const std::string&)>& wanted) {
    std::vector<std::string> out;
    std::error_code error;
    for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
        if (const std::string name = it->path().filename().string(); wanted(name)) out.push_back(name);
    if (error) throw IoError(text("list ", folder, ": ", error.message()));
    std::sort(out.begin(), out.end());
    return out;
}

std::uint64_t DataFolder::train_tokens() const {
    return sum_tokens(train);
}
std::uint64_t DataFolder::valid_tokens() const {
    return sum_tokens(valid);
}

DataFolder open_data_folder(const std::string& path) {
    require_folder(path);
    if (has_file(path + "/" + kUnfinishedName))
        throw DataError(text(path, ": its preparation was not finished: prepare it again"));
    const bool has_index = has_file(path + "/" + kIndexName);
    DataFolder out = has_index ? parse_index(path) : scan_folder(path);
    if (has_index) {
        for (const FileHash& file : out.files)
            if (const auto fault = verify_size(path, file)) throw DataError(describe(path, *fault));
        if (const auto faults = check_listing(out); !faults.empty())
            throw DataError(describe(path, faults.front()));
    }
    if (out.train.empty() && out.valid.empty())
        throw MissingError(text(path, ": has neither ", kIndexName, " nor shards (train-00000.h5 …)"));
    check_tokenizer(out);
    return out;
}

std::string make_index(const DataFolder& folder) {
    const Json json{{"format", "skein-data"},
                    {"version", 1},
                    {"kind", "stream"},
                    {"vocab_size", folder.header.vocab_size},
                    {"tokenizer", folder.header.tokenizer},
                    {"tokenizer_sha256", folder.header.tokenizer_sha256},
                    {"tokenizer_file", folder.tokenizer_file},
                    {"documents", folder.documents},
                    {"train", to_json(folder.train)},
                    {"valid", to_json(folder.valid)},
                    {"files", Json::parse(file_hashes_json(folder.files))}};
    return sealed(json.dump(1));
}

DataReport verify_data_folder(const std::string& path) {
    require_folder(path);
    DataReport report;
    if (has_file(path + "/" + kUnfinishedName))
        report.faults.push_back({kUnfinishedName, 0, "is there: the preparation was not finished"});
    const bool has_index = has_file(path + "/" + kIndexName);
    try {
        report.folder = has_index ? parse_index(path) : scan_folder(path);
    } catch (const Error& error) {
        report.faults.push_back({has_index ? kIndexName : "shards", 0, error.what()});
        return report;
    }
    const DataFolder& folder = *report.folder;
    if (folder.train.empty() && folder.valid.empty()) throw MissingError(text(path, ": has no shards"));
    for (const FileHash& file : folder.files)
        if (const auto fault = verify_file(path, file)) report.faults.push_back(*fault);
    if (has_index)
        for (const FileFault& fault : check_listing(folder)) report.faults.push_back(fault);
    if (!report.faults.empty()) return report;  // HDF5 opens only what is as it was written
    try {
        check_tokenizer(folder);
    } catch (const Error& error) {
        report.faults.push_back({folder.tokenizer_file, 0, error.what()});
    }
    for (const auto* shards : {&folder.train, &folder.valid})
        for (const ShardEntry& shard : *shards) {
            try {
                const TokenStream checked(path, {shard}, folder.header);
                TokenShard(path + "/" + shard.name).check_all();
            } catch (const Error& error) {
                report.faults.push_back({shard.name, 0, error.what()});
            }
        }
    return report;
}

}  // namespace skein
