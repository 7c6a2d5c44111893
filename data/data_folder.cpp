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

Json to_json(const std::vector<ShardEntry>& shards, DataKind kind) {
    Json out = Json::array();
    for (const ShardEntry& shard : shards) {
        Json& entry = out.emplace_back(Json{{"name", shard.name}});
        if (kind == DataKind::kPairs) entry["source_tokens"] = shard.source_tokens;
        entry["tokens"] = shard.tokens;
        entry["documents"] = shard.documents;
    }
    return out;
}

std::vector<ShardEntry> shards_from(const nlohmann::json& json, DataKind kind) {
    std::vector<ShardEntry> out;
    for (const auto& entry : json)
        out.push_back(
            {entry.at("name").get<std::string>(), entry.at("tokens").get<std::uint64_t>(),
             entry.at("documents").get<std::uint64_t>(),
             kind == DataKind::kPairs ? entry.at("source_tokens").get<std::uint64_t>() : std::uint64_t{0}});
    return out;
}

Json to_json(const ShardHeader& header) {
    return {{"vocab_size", header.vocab_size},
            {"tokenizer", header.tokenizer},
            {"tokenizer_sha256", header.tokenizer_sha256}};
}

ShardHeader header_from(const nlohmann::json& json) {
    return {json.at("vocab_size").get<std::int64_t>(), json.at("tokenizer").get<std::string>(),
            json.at("tokenizer_sha256").get<std::string>()};
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
        const bool is_pairs = json.at("kind") == "pairs";
        if (json.at("format") != "skein-data" || json.at("version") != 1 ||
            (!is_pairs && json.at("kind") != "stream"))
            throw DataError(text(name, ": found ", json.at("format").dump(), " version ",
                                 json.at("version").dump(), " of kind ", json.at("kind").dump(),
                                 ", wanted \"skein-data\" version 1 of kind \"stream\" or \"pairs\""));
        out.kind = is_pairs ? DataKind::kPairs : DataKind::kStream;
        out.source_header = out.header = header_from(json);
        json.at("tokenizer_file").get_to(out.tokenizer_file);
        if (json.contains("source")) {
            out.source_header = header_from(json["source"]);
            json["source"].at("tokenizer_file").get_to(out.source_tokenizer_file);
        }
        if (is_pairs) {
            json.at("dropped").get_to(out.dropped);
        } else {
            json.at("documents").get_to(out.documents);
        }
        out.train = shards_from(json.at("train"), out.kind);
        out.valid = shards_from(json.at("valid"), out.kind);
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

/// What a shard without an index says of itself.
std::pair<ShardEntry, PairHeader> look_at(const std::string& path, const std::string& name, DataKind kind) {
    if (kind == DataKind::kPairs) {
        const PairShard shard(path + "/" + name);
        return {{name, shard.target().tokens(), shard.pairs(), shard.source().tokens()}, shard.header()};
    }
    const TokenShard shard(path + "/" + name);
    return {{name, shard.tokens(), shard.documents()}, {shard.header(), shard.header()}};
}

DataFolder scan_folder(const std::string& path) {
    DataFolder out;
    out.path = path;
    StreamingHash fingerprint;
    for (const char* prefix : {"train", "valid"})
        for (const std::string& name : shard_names(path, prefix)) {
            const bool is_first = out.train.empty() && out.valid.empty();
            if (is_first) out.kind = kind_of_shard(path + "/" + name);
            const auto [entry, header] = look_at(path, name, out.kind);
            if (is_first) {
                out.header = header.target;
                out.source_header = header.source;
            }
            (std::string_view(prefix) == "train" ? out.train : out.valid).push_back(entry);
            fingerprint.update(text(name, " ", entry.tokens, " ", entry.documents, " ",
                                    header.target.vocab_size, " ", header.target.tokenizer_sha256, "\n"));
            if (out.kind == DataKind::kPairs)
                fingerprint.update(text("source ", entry.source_tokens, " ", header.source.vocab_size, " ",
                                        header.source.tokenizer_sha256, "\n"));
        }
    out.tokenizer_file = find_tokenizer_file(path).value_or("");
    if (!out.pair_header().is_joint())
        out.source_tokenizer_file = find_tokenizer_file(path, kSourceTokenizerPrefix).value_or("");
    out.fingerprint = fingerprint.hex();
    return out;
}

std::string describe(const std::string& path, const FileFault& fault) {
    return text(path, "/", fault.name, ": ", fault.what);
}

/// `name` is the file in which the tokenizer of `header` is, empty where there is none.
void check_tokenizer(const DataFolder& folder, const std::string& name, const std::string& prefix,
                     const ShardHeader& header) {
    if (name.empty()) {
        if (folder.has_index) throw DataError(text(folder.path, "/", kIndexName, ": names no tokenizer"));
        return;
    }
    const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(folder.path, prefix);
    const std::string file = folder.path + "/" + name;
    if (const std::string found = sha256_of(*tokenizer);
        !header.tokenizer_sha256.empty() && found != header.tokenizer_sha256)
        throw DataError(
            text(file, ": has sha256 ", found, ", the shards were made with ", header.tokenizer_sha256));
    if (tokenizer->vocab_size() != header.vocab_size)
        throw DataError(text(file, ": has a vocabulary of ", tokenizer->vocab_size(), ", the shards have ",
                             header.vocab_size));
    if (folder.kind == DataKind::kPairs && tokenizer->end_of_document() != SentencePieceIds::kEnd)
        throw DataError(text(file, ": its end token is not id ", SentencePieceIds::kEnd,
                             ", as pairs have it (see skein prepare --source --target)"));
}

void check_tokenizers(const DataFolder& folder) {
    check_tokenizer(folder, folder.tokenizer_file, "", folder.header);
    if (!folder.pair_header().is_joint())
        check_tokenizer(folder, folder.source_tokenizer_file, kSourceTokenizerPrefix, folder.source_header);
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

std::uint64_t sum_documents(const std::vector<ShardEntry>& shards) {
    std::uint64_t sum = 0;
    for (const ShardEntry& shard : shards) sum += shard.documents;
    return sum;
}

/// Reads a shard whole, which the folder lists as it is.
void check_shard(const DataFolder& folder, const ShardEntry& shard) {
    if (folder.kind == DataKind::kPairs) {
        const PairStream listed(folder.path, {shard}, folder.pair_header());
        PairShard(folder.path + "/" + shard.name).check_all();
    } else {
        const TokenStream listed(folder.path, {shard}, folder.header);
        TokenShard(folder.path + "/" + shard.name).check_all();
    }
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
std::uint64_t DataFolder::train_documents() const {
    return sum_documents(train);
}
std::uint64_t DataFolder::valid_documents() const {
    return sum_documents(valid);
}

void require_kind(const DataFolder& folder, DataKind wanted) {
    if (folder.kind == wanted) return;
    const bool wants_pairs = wanted == DataKind::kPairs;
    throw DataError(text(folder.path, ": found a data folder of kind \"", name_of(folder.kind),
                         "\", wanted \"", name_of(wanted), "\": ",
                         wants_pairs
                             ? "an encoder-decoder trains on what skein prepare --source --target makes"
                             : "a decoder trains on what skein prepare --text makes",
                         " (--model.kind)"));
}

DataFolder open_data_folder(const std::string& path, DataCheck check) {
    require_folder(path);
    if (has_file(path + "/" + kUnfinishedName))
        throw DataError(text(path, ": its preparation was not finished: prepare it again"));
    const bool has_index = has_file(path + "/" + kIndexName);
    DataFolder out = has_index ? parse_index(path) : scan_folder(path);
    if (has_index) {
        std::uint64_t bytes = 0;
        for (const FileHash& file : out.files) {
            bytes += file.size;
            if (!has_file(path + "/" + file.name))
                throw MissingError(
                    text(path, "/", file.name, ": no such file, but ", kIndexName, " lists it"));
            if (const auto fault = verify_size(path, file)) throw DataError(describe(path, *fault));
        }
        const std::size_t blocks = bytes > kMostCheckedBytes ? 1 : static_cast<std::size_t>(-1);
        if (check == DataCheck::kBytes)
            for (const FileHash& file : out.files)
                if (const auto fault = verify_file(path, file, blocks))
                    throw DataError(describe(path, *fault));
        if (const auto faults = check_listing(out); !faults.empty())
            throw DataError(describe(path, faults.front()));
    }
    if (out.train.empty() && out.valid.empty())
        throw MissingError(text(path, ": has neither ", kIndexName, " nor shards (train-00000.h5 …)"));
    check_tokenizers(out);
    return out;
}

std::string make_index(const DataFolder& folder) {
    Json json{{"format", "skein-data"}, {"version", 1}, {"kind", name_of(folder.kind)}};
    json.update(to_json(folder.header));
    json["tokenizer_file"] = folder.tokenizer_file;
    if (!folder.source_tokenizer_file.empty()) {
        json["source"] = to_json(folder.source_header);
        json["source"]["tokenizer_file"] = folder.source_tokenizer_file;
    }
    if (folder.kind == DataKind::kPairs) {
        json["dropped"] = folder.dropped;
    } else {
        json["documents"] = folder.documents;
    }
    json["train"] = to_json(folder.train, folder.kind);
    json["valid"] = to_json(folder.valid, folder.kind);
    json["files"] = Json::parse(file_hashes_json(folder.files));
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
        check_tokenizers(folder);
    } catch (const Error& error) {
        report.faults.push_back({folder.tokenizer_file, 0, error.what()});
    }
    for (const auto* shards : {&folder.train, &folder.valid})
        for (const ShardEntry& shard : *shards) {
            try {
                check_shard(folder, shard);
            } catch (const Error& error) {
                report.faults.push_back({shard.name, 0, error.what()});
            }
        }
    return report;
}

}  // namespace skein
