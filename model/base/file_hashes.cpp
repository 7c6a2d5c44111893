#include "model/base/file_hashes.h"

#include <nlohmann/json.hpp>

#include "model/base/error.h"
#include "model/base/files.h"
#include "model/base/hash.h"

namespace skein {
namespace {

constexpr std::string_view kSealBefore = ",\n\"hash\": \"", kSealAfter = "\"\n}\n";

std::string seal_of(std::string_view body) {
    return std::string(kSealBefore) + hash_hex(body) + std::string(kSealAfter);
}

}  // namespace

FileHash hash_file(const std::string& folder, const std::string& name) {
    FileHash out{name, 0, {}};
    read_pieces(folder + "/" + name, kHashBlockBytes, [&](std::string_view piece) {
        out.size += piece.size();
        out.blocks.push_back(hash_hex(piece));
        return true;
    });
    return out;
}

std::optional<FileFault> verify_size(const std::string& folder, const FileHash& expected) {
    try {
        const std::uint64_t size = file_size(folder + "/" + expected.name);
        if (size == expected.size) return std::nullopt;
        return FileFault{expected.name, std::min(size, expected.size) / kHashBlockBytes * kHashBlockBytes,
                         text("has ", size, " bytes, was written with ", expected.size)};
    } catch (const MissingError&) {
        return FileFault{expected.name, 0, "is missing"};
    } catch (const IoError& error) {
        return FileFault{expected.name, 0, error.what()};
    }
}

std::optional<FileFault> verify_file(const std::string& folder, const FileHash& expected) {
    if (auto fault = verify_size(folder, expected)) return fault;
    std::uint64_t offset = 0;
    std::size_t block = 0;
    std::optional<FileFault> fault;
    try {
        read_pieces(folder + "/" + expected.name, kHashBlockBytes, [&](std::string_view piece) {
            if (block >= expected.blocks.size() || hash_hex(piece) != expected.blocks[block]) {
                fault =
                    FileFault{expected.name, offset,
                              text("is changed within bytes [", offset, ", ", offset + piece.size(), ")")};
                return false;
            }
            offset += piece.size();
            ++block;
            return true;
        });
        if (!fault && (offset != expected.size || block != expected.blocks.size()))
            fault = FileFault{expected.name, offset,
                              text("ends at byte ", offset, ", was written with ", expected.size,
                                   " bytes in ", expected.blocks.size(), " blocks")};
    } catch (const Error& error) {
        fault = FileFault{expected.name, offset, error.what()};
    }
    return fault;
}

std::string file_hashes_json(const std::vector<FileHash>& files) {
    nlohmann::ordered_json out = nlohmann::ordered_json::array();
    for (const FileHash& file : files)
        out.push_back({{"name", file.name}, {"size", file.size}, {"blocks", file.blocks}});
    return out.dump();
}

std::vector<FileHash> parse_file_hashes(std::string_view json) {
    std::vector<FileHash> out;
    try {
        for (const nlohmann::json& entry : nlohmann::json::parse(json)) {
            FileHash& file = out.emplace_back();
            entry.at("name").get_to(file.name);
            entry.at("size").get_to(file.size);
            entry.at("blocks").get_to(file.blocks);
            if (file.name.empty() || file.name[0] == '.' || file.name.find('/') != std::string::npos)
                throw DataError(
                    text("list of files: \"", file.name, "\" is not the name of a file in the folder"));
        }
    } catch (const nlohmann::json::exception& error) {
        throw DataError(text("list of files: ", error.what()));
    }
    return out;
}

std::string sealed(std::string_view json) {
    const std::size_t end = json.find_last_not_of(" \n\t\r");
    if (end == std::string_view::npos || json[end] != '}') throw DataError("seal: found no JSON object");
    const std::string_view body = json.substr(0, json.find_last_not_of(" \n\t\r", end - 1) + 1);
    return std::string(body) + seal_of(body);
}

bool is_sealed(std::string_view json) {
    const std::size_t seal = kSealBefore.size() + 16 + kSealAfter.size();
    if (json.size() < seal) return false;
    return json.substr(json.size() - seal) == seal_of(json.substr(0, json.size() - seal));
}

}  // namespace skein
