#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "tests/trainer/small_run.h"
#include "trainer/training_step.h"

namespace skein {

/// A model with its step: on one rank, or as one of several.
struct Training {
    explicit Training(const RunConfig& given, int threads = 1, Communicator* data = nullptr)
        : config(given),
          stream(threads),
          objective(make_objective(stream, config.model, 5)),
          step(config, *objective, stream, data ? *data : alone) {}

    Batch batch(std::int64_t number) const {
        TokenBatch part;
        const std::int64_t context = config.model.context, count = config.train.batch * context;
        const std::vector<std::int32_t> ids = small_text(count + 1, static_cast<std::int32_t>(number % 20));
        Batch batch;
        batch.samples = config.train.batch;
        batch.target_tokens = count;
        batch.own = step.own_samples(config.train.batch);
        const auto begin = ids.begin() + batch.own.begin * context,
                   end = ids.begin() + batch.own.end * context;
        part.context = static_cast<std::uint64_t>(context);
        part.inputs.assign(begin, end);
        part.targets.assign(begin + 1, end + 1);
        batch.part = std::move(part);
        return batch;
    }
    ParameterList& parameters() { return objective->model().parameters(); }
    StepOutcome run(std::int64_t number) { return step.run(batch(number), number, 0); }
    std::vector<float> first_moments() {
        std::vector<float> all;
        for (std::size_t i = 0; i < parameters().size(); ++i) {
            const auto values = step.optimizer().moment1(i).span<float>();
            all.insert(all.end(), values.begin(), values.end());
        }
        return all;
    }

    RunConfig config;
    SoloCommunicator alone;
    Stream stream;
    std::unique_ptr<Objective> objective;
    TrainingStep step;
};

inline bool same_bits(const std::vector<float>& one, const std::vector<float>& other) {
    return one.size() == other.size() &&
           std::memcmp(one.data(), other.data(), one.size() * sizeof(float)) == 0;
}

}  // namespace skein
