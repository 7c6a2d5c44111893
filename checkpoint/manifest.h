#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/base/file_hashes.h"
#include "model/base/loss_scale.h"
#include "model/tensor/dtype.h"
#include "model/tensor/shape.h"

namespace skein {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kModelFileName = "model.h5";

/// Names with values, in the order in which they were given. No name twice.
using NamedTexts = std::vector<std::pair<std::string, std::string>>;
using NamedNumbers = std::vector<std::pair<std::string, double>>;
using NamedCounts = std::vector<std::pair<std::string, std::uint64_t>>;

/// Where a run stands in its data: `samples` of this window of this epoch are consumed.
struct DataPlace {
    std::uint64_t epoch = 0, window = 0, samples = 0;
    friend bool operator==(const DataPlace&, const DataPlace&) = default;
};

/// The best value of the metric so far, and the step whose parameters had it.
struct BestMetric {
    double value = 0.0;
    std::uint64_t step = 0;
    friend bool operator==(const BestMetric&, const BestMetric&) = default;
};

/// Ranks along each axis of the process grid.
struct GridSize {
    std::uint64_t data = 1, tensor = 1;
    friend bool operator==(const GridSize&, const GridSize&) = default;
};

/// All of a run's state that is not a tensor, and what is recorded about it.
struct RunState {
    std::uint64_t step = 0;     ///< batches consumed
    std::uint64_t updates = 0;  ///< the optimizer's updates: fewer when steps were skipped
    DataPlace place;
    LossScaleState loss_scale;
    NamedTexts configuration;
    std::optional<BestMetric> best;
    std::uint64_t patience = 0;  ///< evaluations since the best one
    NamedNumbers averages;       ///< running averages that the log shows
    NamedCounts skips;           ///< steps skipped, by reason
    std::uint64_t restarts = 0;
    double seconds = 0.0;  ///< spent in training, over all restarts
    NamedTexts leans_on;   ///< what the bits depend on: CPU, instruction set, compiler, BLAS core, GPU ...
    GridSize grid;
    friend bool operator==(const RunState&, const RunState&) = default;
};

/// A box of a tensor as it lies in one file.
struct TensorPiece {
    std::string file, dataset;
    Shape offset;      ///< index of its first element in the whole tensor
    Shape shape;       ///< the dataset's shape, but for a scalar, whose dataset is [1]
    std::string hash;  ///< XXH3 of its bytes as they were in memory
    friend bool operator==(const TensorPiece&, const TensorPiece&) = default;
};

struct TensorRecord {
    std::string name;
    DType dtype = DType::f32;
    Shape shape;                      ///< of the whole tensor
    std::vector<TensorPiece> pieces;  ///< cover it exactly, without overlap; none when it has no elements
    friend bool operator==(const TensorRecord&, const TensorRecord&) = default;
};

/// manifest.json of a checkpoint, format "skein-checkpoint", version 1.
///
/// The file is one JSON object, one member a line, and is sealed: its last member, "hash", is the XXH3 of
/// every byte before the comma that precedes it, and the bytes from that comma on are fixed
/// (model/base/file_hashes.h, sealed()). So every changed byte is found, white space included.
struct Manifest {
    RunState run;
    /// How many checkpoints this run had saved, this one included: the newest one has the most. Steps do not
    /// say it, because a run may go back to an older checkpoint and on from there.
    std::uint64_t sequence = 0;
    std::vector<std::string> tokenizer;  ///< names of the tokenizer's files; each is also in `files`
    std::vector<FileHash> files;         ///< every file of the folder but the manifest
    std::vector<TensorRecord> tensors;
    friend bool operator==(const Manifest&, const Manifest&) = default;
};

/// The text of the file. Throws CheckpointError for what JSON cannot hold (text that is not UTF-8, a name
/// twice).
std::string manifest_text(const Manifest& manifest);

/// The inverse. Throws CheckpointError naming `file` and the field: damaged text, another format or version,
/// a field that is missing or of the wrong type, a piece outside its tensor, pieces that overlap or leave
/// gaps.
Manifest parse_manifest(std::string_view text, const std::string& file);

/// Reads FOLDER/manifest.json. Throws CheckpointError when it is missing, unreadable, or parse_manifest does.
Manifest read_manifest(const std::string& folder);

}  // namespace skein
