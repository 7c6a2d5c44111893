#include "checkpoint/inspect.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "checkpoint/damage.h"
#include "checkpoint/rank_file.h"
#include "checkpoint/state_hash.h"
#include "model/base/error.h"
#include "model/base/file_hashes.h"
#include "model/base/hash.h"

namespace skein {
namespace {

std::vector<std::string> names_in(const std::string& folder) {
    std::vector<std::string> out;
    std::error_code failure;
    std::filesystem::directory_iterator entry(folder, failure);
    if (failure) throw MissingError(text("list ", folder, ": ", failure.message()));
    for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure))
        out.push_back(entry->path().filename().string());
    if (failure) throw IoError(text("list ", folder, ": ", failure.message()));
    std::sort(out.begin(), out.end());
    return out;
}

}  // namespace

std::string CheckpointFault::line() const {
    return text(file, ": ", tensor, tensor.empty() ? "" : ": ", what);
}

CheckpointInspection inspect_checkpoint(const std::string& folder) {
    CheckpointInspection out;
    const std::vector<std::string> names = names_in(folder);
    try {
        out.manifest = read_manifest(folder);
    } catch (const CheckpointError& error) {
        out.faults.push_back({std::string(kManifestName), "", 0, error.what()});
        return out;
    }
    std::set<std::string> known{std::string(kManifestName)};
    for (const FileHash& file : out.manifest->files) {
        known.insert(file.name);
        const auto fault = verify_file(folder, file);
        if (!fault) continue;
        const std::vector<DamagedTensor> tensors = damaged_tensors(folder, *out.manifest, file.name);
        for (const DamagedTensor& tensor : tensors)
            out.faults.push_back({fault->name, tensor.name, tensor.begin,
                                  text("is changed within bytes [", tensor.begin, ", ", tensor.end, ")")});
        if (tensors.empty()) out.faults.push_back({fault->name, "", fault->offset, fault->what});
    }
    for (const std::string& name : names)
        if (!known.contains(name)) out.faults.push_back({name, "", 0, "is not part of the checkpoint"});
    if (!out.faults.empty()) return out;

    PieceReader reader(folder);
    std::vector<TensorDigest> digests;
    std::vector<std::byte> bytes;
    for (const TensorRecord& tensor : out.manifest->tensors) {
        bytes.resize(static_cast<std::size_t>(tensor.shape.elements()) * size_of(tensor.dtype));
        try {
            reader.read(tensor, Box::whole(tensor.shape), bytes);
            digests.push_back({tensor.name, tensor.dtype, tensor.shape, hash_hex(bytes)});
        } catch (const CheckpointError& error) {
            out.faults.push_back({tensor.pieces.front().file, tensor.name, 0, error.what()});
        }
    }
    if (!out.faults.empty()) return out;
    out.parameters_hash = parameters_hash(digests);
    out.state_hash = state_hash(digests, out.manifest->run);
    return out;
}

}  // namespace skein
