#include "trainer/training_data.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "data/pair_sampler.h"
#include "data/sampler.h"
#include "model/base/error.h"

namespace skein {
namespace {

// Tokens that one pass evaluates, at most (of pairs, on each side).
constexpr std::int64_t kTokensOfAPass = 4096;

/// Reads into the batch's part, or keeps why it could not.
template <class Read, class Blank>
void read_part(Batch& batch, const Read& read, const Blank& blank) {
    try {
        batch.part = read();
    } catch (const Error&) {
        batch.unread = std::current_exception();
        batch.part = blank();
    }
}

// ---- windows of a stream

TokenBatch blank_tokens(std::int64_t samples, std::uint64_t context) {
    TokenBatch blank;
    blank.context = context;
    blank.inputs.resize(static_cast<std::uint64_t>(samples) * context);
    blank.targets = blank.inputs;
    return blank;
}

class StreamTraining : public TrainingData {
  public:
    StreamTraining(const DataFolder& folder, const RunConfig& config)
        : tokens_(folder.path, folder.train, folder.header),
          sampler_(tokens_.tokens(), static_cast<std::uint64_t>(config.model.context), config.train.seed),
          batch_(config.train.batch) {}

    std::vector<Batch> blank_batches(const OwnSamples& own, std::int64_t) const override {
        std::vector<Batch> one{next_batch(own)};
        one[0].part = blank(one[0].own);
        return one;
    }
    std::unique_ptr<BatchWalk> walk(const DataPlace& from, OwnSamples own) const override;

  private:
    class Walk;

    /// Without its part and its place.
    Batch next_batch(const OwnSamples& own) const {
        Batch batch;
        batch.samples = batch_;
        batch.target_tokens = batch_ * static_cast<std::int64_t>(sampler_.context());
        batch.own = own(batch.samples);
        return batch;
    }
    TokenBatch blank(SampleRange own) const { return blank_tokens(own.end - own.begin, sampler_.context()); }

    TokenStream tokens_;
    StreamSampler sampler_;
    std::int64_t batch_;
};

class StreamTraining::Walk : public BatchWalk {
  public:
    Walk(const StreamTraining& data, std::uint64_t consumed, OwnSamples own)
        : data_(data), consumed_(consumed), own_(std::move(own)) {}

    Batch next() override {
        Batch batch = data_.next_batch(own_);
        const auto count = static_cast<std::uint64_t>(batch.own.end - batch.own.begin);
        const std::uint64_t first = consumed_ + static_cast<std::uint64_t>(batch.own.begin);
        read_part(
            batch, [&] { return read_samples(data_.tokens_, data_.sampler_, first, count); },
            [&] { return data_.blank(batch.own); });
        consumed_ += static_cast<std::uint64_t>(batch.samples);
        const Cursor cursor = data_.sampler_.cursor(consumed_);
        batch.after = {cursor.epoch, cursor.window, 0};
        return batch;
    }

  private:
    const StreamTraining& data_;
    std::uint64_t consumed_;  // samples, since the run began
    OwnSamples own_;
};

std::unique_ptr<BatchWalk> StreamTraining::walk(const DataPlace& from, OwnSamples own) const {
    return std::make_unique<Walk>(*this, sampler_.sample({from.epoch, from.window}), std::move(own));
}

class StreamValidation : public ValidationData {
  public:
    StreamValidation(const DataFolder& folder, std::int64_t context, std::int64_t samples)
        : tokens_(folder.path, folder.valid, folder.header), context_(context) {
        const auto windows = static_cast<std::int64_t>(
            validation_windows(tokens_.tokens(), static_cast<std::uint64_t>(context)));
        const std::int64_t count = samples > 0 ? std::min(samples, windows) : windows;
        const std::int64_t of_a_pass = std::max<std::int64_t>(1, kTokensOfAPass / context);
        for (std::int64_t first = 0; first < count; first += of_a_pass)
            passes_.push_back({first, std::min(count, first + of_a_pass)});
    }

    const std::vector<SampleRange>& passes() const override { return passes_; }

    Batch blank(std::size_t pass) const override {
        Batch batch;
        batch.own = passes_[pass];
        batch.samples = batch.own.end - batch.own.begin;
        batch.target_tokens = batch.samples * context_;
        batch.part = blank_tokens(batch.samples, static_cast<std::uint64_t>(context_));
        return batch;
    }
    Batch read(std::size_t pass) const override {
        Batch batch = blank(pass);
        batch.part = read_validation(tokens_, static_cast<std::uint64_t>(context_),
                                     static_cast<std::uint64_t>(batch.own.begin),
                                     static_cast<std::uint64_t>(batch.samples));
        return batch;
    }

  private:
    TokenStream tokens_;
    std::int64_t context_;
    std::vector<SampleRange> passes_;
};

// ---- pairs

Batch batch_of(const PairPlan& plan, SampleRange own) {
    Batch batch;
    batch.samples = static_cast<std::int64_t>(plan.samples());
    batch.target_tokens = static_cast<std::int64_t>(plan.target_tokens());
    for (const PairLength& length : plan.lengths)
        batch.source_tokens += static_cast<std::int64_t>(length.source);
    batch.own = own;
    batch.after = {plan.place.epoch, plan.place.window, plan.samples_before + plan.samples()};
    return batch;
}

/// As long as the samples that were planned.
PairBatch blank_pairs(const PairPlan& plan, SampleRange own) {
    PairBatch blank;
    for (auto i = static_cast<std::size_t>(own.begin); i < static_cast<std::size_t>(own.end); ++i) {
        blank.source_offsets.push_back(blank.source_offsets.back() + plan.lengths[i].source);
        blank.target_offsets.push_back(blank.target_offsets.back() + plan.lengths[i].target);
    }
    blank.source.resize(blank.source_offsets.back());
    blank.inputs.resize(blank.target_offsets.back());
    blank.targets = blank.inputs;
    return blank;
}

PairSamplerOptions sampler_options(const RunConfig& config) {
    PairSamplerOptions options;
    options.batch = static_cast<std::uint64_t>(config.train.batch);
    options.batch_tokens = static_cast<std::uint64_t>(config.train.batch_tokens);
    options.context = static_cast<std::uint64_t>(config.model.context);
    options.long_pairs = config.train.long_pairs;
    options.seed = config.train.seed;
    return options;
}

class PairTraining : public TrainingData {
  public:
    PairTraining(const DataFolder& folder, const RunConfig& config)
        : pairs_(folder.path, folder.train, folder.pair_header()),
          sampler_(pairs_.read_lengths(), sampler_options(config)),
          context_(config.model.context),
          lanes_(config.parallel.lanes) {}

    std::vector<std::string> notices() const override {
        std::vector<std::string> lines{padding_notice()};
        if (sampler_.dropped() > 0)
            lines.push_back(text(
                sampler_.dropped(), " of ", pairs_.pairs(),
                " pairs are left out: a side and its end token are longer than --model.context ", context_));
        if (sampler_.truncated() > 0)
            lines.push_back(text(sampler_.truncated(), " of ", pairs_.pairs(),
                                 " pairs are cut to --model.context ", context_));
        return lines;
    }
    std::vector<Batch> blank_batches(const OwnSamples& own, std::int64_t most) const override {
        std::vector<Batch> batches;
        PairWalk walk(sampler_, {});
        while (std::ssize(batches) < most) {
            const PairPlan& plan = walk.next();
            Batch& batch =
                batches.emplace_back(batch_of(plan, own(static_cast<std::int64_t>(plan.samples()))));
            batch.part = blank_pairs(plan, batch.own);
        }
        return batches;
    }

    std::unique_ptr<BatchWalk> walk(const DataPlace& from, OwnSamples own) const override;

  private:
    class Walk;

    /// Of the first window, so that it costs little in a large corpus.
    std::string padding_notice() const {
        const std::vector<PairPlan> window = sampler_.plan_window(0, 0);
        const Lanes lanes(lanes_, 1);
        PaddingCount padding;
        std::uint64_t pairs = 0;
        for (const PairPlan& plan : window) {
            pairs += plan.samples();
            for (int lane = 0; lane < lanes_; ++lane) {
                const SampleRange samples = lanes.samples(lane, static_cast<std::int64_t>(plan.samples()));
                padding += count_padding(plan, static_cast<std::uint64_t>(samples.begin),
                                         static_cast<std::uint64_t>(samples.end));
            }
        }
        return text(sampler_.pairs(), " pairs an epoch, ", pairs / window.size(),
                    " a batch on average; of its tokens ",
                    std::round(1000.0 * (1.0 - padding.real_share())) / 10.0, " % are padding (", lanes_,
                    " lanes)");
    }

    PairStream pairs_;
    PairSampler sampler_;
    std::int64_t context_;
    int lanes_;
};

class PairTraining::Walk : public BatchWalk {
  public:
    Walk(const PairTraining& data, PairCursor start, OwnSamples own)
        : data_(data), walk_(data.sampler_, start), own_(std::move(own)) {}

    Batch next() override {
        const PairPlan& plan = walk_.next();
        Batch batch = batch_of(plan, own_(static_cast<std::int64_t>(plan.samples())));
        read_part(
            batch,
            [&] {
                return read_pairs(data_.pairs_, plan, static_cast<std::uint64_t>(batch.own.begin),
                                  static_cast<std::uint64_t>(batch.own.end));
            },
            [&] { return blank_pairs(plan, batch.own); });
        return batch;
    }

  private:
    const PairTraining& data_;
    PairWalk walk_;
    OwnSamples own_;
};

std::unique_ptr<BatchWalk> PairTraining::walk(const DataPlace& from, OwnSamples own) const {
    return std::make_unique<Walk>(*this, sampler_.find(from.epoch, from.window, from.samples),
                                  std::move(own));
}

class PairValidation : public ValidationData {
  public:
    PairValidation(const DataFolder& folder, std::int64_t context, LongPairs long_pairs, std::int64_t samples)
        : pairs_(folder.path, folder.valid, folder.pair_header()) {
        std::vector<PairLength> lengths = pairs_.read_lengths();
        if (samples > 0) lengths.resize(std::min(lengths.size(), static_cast<std::size_t>(samples)));
        plans_ = plan_validation(lengths, static_cast<std::uint64_t>(std::max(kTokensOfAPass, context)),
                                 static_cast<std::uint64_t>(context), long_pairs);
        for (const PairPlan& plan : plans_)
            passes_.push_back({static_cast<std::int64_t>(plan.first_sample),
                               static_cast<std::int64_t>(plan.first_sample + plan.samples())});
    }

    const std::vector<SampleRange>& passes() const override { return passes_; }

    Batch blank(std::size_t pass) const override {
        Batch batch = batch_of(plans_[pass], passes_[pass]);
        batch.part = blank_pairs(plans_[pass], {0, batch.samples});
        return batch;
    }
    Batch read(std::size_t pass) const override {
        Batch batch = batch_of(plans_[pass], passes_[pass]);
        batch.part = read_pairs(pairs_, plans_[pass], 0, plans_[pass].samples());
        return batch;
    }

  private:
    PairStream pairs_;
    std::vector<PairPlan> plans_;
    std::vector<SampleRange> passes_;
};

void fit_vocabulary(std::int64_t& vocabulary, std::int64_t found, const char* whose,
                    const DataFolder& folder) {
    if (vocabulary == 0) vocabulary = found;
    if (vocabulary != found)
        throw DataError(text("--data: ", folder.path, " has a ", whose, "vocabulary of ", found,
                             ", the model's is ", vocabulary));
}

}  // namespace

DataFolder open_data_together(const std::string& path, int rank, const Together& together) {
    DataFolder folder;
    together([&] {
        if (rank == 0) folder = open_data_folder(path, DataCheck::kBytes);
    });
    together([&] {
        if (rank != 0) folder = open_data_folder(path, DataCheck::kSizes);
    });
    return folder;
}

void fit_to_data(ModelConfig& model, const DataFolder& folder) {
    const bool pairs = model.kind == ModelKind::kEncoderDecoder;
    require_kind(folder, pairs ? DataKind::kPairs : DataKind::kStream);
    fit_vocabulary(model.vocabulary, folder.header.vocab_size, pairs ? "target " : "", folder);
    if (pairs) fit_vocabulary(model.source_vocabulary, folder.source_header.vocab_size, "source ", folder);
}

std::unique_ptr<TrainingData> open_training_data(const DataFolder& folder, const RunConfig& config) {
    if (folder.kind == DataKind::kPairs) return std::make_unique<PairTraining>(folder, config);
    return std::make_unique<StreamTraining>(folder, config);
}

std::unique_ptr<ValidationData> open_validation_data(const DataFolder& folder, const ModelConfig& model,
                                                     LongPairs long_pairs, std::int64_t samples) {
    if (folder.kind == DataKind::kPairs)
        return std::make_unique<PairValidation>(folder, model.context, long_pairs, samples);
    return std::make_unique<StreamValidation>(folder, model.context, samples);
}

}  // namespace skein
