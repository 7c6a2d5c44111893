#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "model/autograd/ops/cross_entropy.h"
#include "model/nn/model.h"
#include "model/nn/pass.h"
#include "trainer/batch.h"

namespace skein {

/// A model together with what it is trained to do on a batch.
class Objective {
  public:
    Objective(const Objective&) = delete;
    Objective& operator=(const Objective&) = delete;
    virtual ~Objective() = default;

    Model& model() { return *model_; }
    const Model& model() const { return *model_; }

    /// Forward, with its loss, of the samples [begin, end) of batch.own in one pass. Throws ShapeError.
    virtual LossSums loss(Tape& tape, const Batch& batch, SampleRange samples, const PassContext& place,
                          const LossOptions& options) const = 0;

  protected:
    explicit Objective(std::unique_ptr<Model> model) : model_(std::move(model)) {}

  private:
    std::unique_ptr<Model> model_;
};

/// The objective of a kind of model, with initial values of `seed`: of a decoder, to tell the next token of a
/// text; of an encoder-decoder, the next token of a target, given its source. Of a model that a group shares
/// out, this rank's part. The stream must outlive it. Throws ConfigError.
std::unique_ptr<Objective> make_objective(Stream& stream, const ModelConfig& config, std::uint64_t seed,
                                          const TensorSharing& sharing = {});

}  // namespace skein
