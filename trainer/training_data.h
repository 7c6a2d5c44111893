#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/data_folder.h"
#include "trainer/batch.h"
#include "trainer/config.h"

namespace skein {

/// The part of a global batch of n samples that a rank reads.
using OwnSamples = std::function<SampleRange(std::int64_t n)>;

/// Goes over the batches of a run. What next() gives is a function of the data, the configuration and the
/// place.
class BatchWalk {
  public:
    virtual ~BatchWalk() = default;
    /// The next batch. Does not throw for samples that cannot be read: see Batch::unread.
    virtual Batch next() = 0;
};

/// What a run trains on: the training shards of a data folder, and their order.
class TrainingData {
  public:
    virtual ~TrainingData() = default;
    /// What there is to say about it before training, a line each.
    virtual std::vector<std::string> notices() const { return {}; }
    /// Blank batches as long as the first `most` of training, without reading a token; of a stream one, as
    /// all are alike.
    virtual std::vector<Batch> blank_batches(const OwnSamples& own, std::int64_t most) const = 0;
    /// The batches from a place on. This must outlive the walk. Throws DataError for a place that is none.
    virtual std::unique_ptr<BatchWalk> walk(const DataPlace& from, OwnSamples own) const = 0;
};

/// What a model is evaluated on: samples in their order, cut into passes from the first one on, whatever the
/// number of ranks.
class ValidationData {
  public:
    virtual ~ValidationData() = default;
    std::int64_t samples() const { return passes().empty() ? 0 : passes().back().end; }
    virtual const std::vector<SampleRange>& passes() const = 0;
    /// All samples of a pass, its `own` counted over all passes. Throws DataError.
    virtual Batch read(std::size_t pass) const = 0;
    /// As long, without reading a token.
    virtual Batch blank(std::size_t pass) const = 0;
};

/// Runs a part of start-up on every rank and agrees on how it went: throws on all ranks or on none.
using Together = std::function<void(const std::function<void()>&)>;

/// Collective: opens a data folder on every rank. Rank 0 looks at the files' bytes before any other opens a
/// shard, and the others at their sizes: HDF5 may crash on a damaged file. Throws what open_data_folder does,
/// by way of `together`.
DataFolder open_data_together(const std::string& path, int rank, const Together& together);

/// The model's vocabularies, of which 0 stands for the data's. Throws DataError, with what to do, when the
/// folder's samples are not what this kind of model trains on, or the vocabularies differ.
void fit_to_data(ModelConfig& model, const DataFolder& folder);

/// Opens the training shards. `config` is an effective one whose model fits. Throws DataError and
/// ConfigError.
std::unique_ptr<TrainingData> open_training_data(const DataFolder& folder, const RunConfig& config);

/// Opens the first `samples` (0: all) of the validation shards; there may be none. Throws DataError.
std::unique_ptr<ValidationData> open_validation_data(const DataFolder& folder, const ModelConfig& model,
                                                     LongPairs long_pairs, std::int64_t samples);

}  // namespace skein
