#pragma once

#include <cstdint>
#include <memory>

#include "model/nn/encoder_decoder.h"
#include "model/nn/transformer.h"
#include "trainer/batch.h"

namespace skein {

/// A model together with what it is trained to do on a batch.
class Objective {
  public:
    Objective() = default;
    Objective(const Objective&) = delete;
    Objective& operator=(const Objective&) = delete;
    virtual ~Objective() = default;

    virtual Model& model() = 0;
    const Model& model() const { return const_cast<Objective*>(this)->model(); }

    /// Forward, with its loss, of the samples [begin, end) of batch.own in one pass. Throws ShapeError.
    virtual LossSums loss(Tape& tape, const Batch& batch, SampleRange samples, const PassContext& place,
                          const LossOptions& options) const = 0;
};

/// A decoder that is to tell the next token of a text.
class NextTokenObjective : public Objective {
  public:
    NextTokenObjective(Stream& stream, const ModelConfig& config, std::uint64_t seed)
        : stream_(stream), model_(stream, config, seed) {}

    Transformer& model() override { return model_; }
    LossSums loss(Tape& tape, const Batch& batch, SampleRange samples, const PassContext& place,
                  const LossOptions& options) const override;

  private:
    Stream& stream_;
    Transformer model_;
};

/// An encoder-decoder that is to tell the next token of a target, given its source.
class TranslationObjective : public Objective {
  public:
    TranslationObjective(Stream& stream, const ModelConfig& config, std::uint64_t seed)
        : stream_(stream), model_(stream, config, seed) {}

    EncoderDecoder& model() override { return model_; }
    LossSums loss(Tape& tape, const Batch& batch, SampleRange samples, const PassContext& place,
                  const LossOptions& options) const override;

  private:
    Stream& stream_;
    EncoderDecoder model_;
};

/// The objective of a kind of model, with initial values of `seed`. The stream must outlive it. Throws
/// ConfigError.
std::unique_ptr<Objective> make_objective(Stream& stream, const ModelConfig& config, std::uint64_t seed);

}  // namespace skein
