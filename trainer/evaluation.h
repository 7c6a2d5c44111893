#pragma once

#include <cstdint>

#include "model/tensor/communicator.h"
#include "trainer/objective.h"
#include "trainer/training_data.h"

namespace skein {

struct Evaluation {
    double loss = 0.0;      ///< plain cross-entropy, nats per real target token
    double accuracy = 0.0;  ///< share of target tokens that are the most probable
    std::int64_t tokens = 0;
    double perplexity() const;
};

/// Loss on validation samples. Collective; ranks share the passes out, and the sums are added in order of
/// samples, so the result is the same bits for any number of ranks. Throws DataError, on all ranks, when
/// there is no sample or one cannot be read.
Evaluation evaluate(const Objective& objective, Stream& stream, Communicator& data,
                    const ValidationData& samples);

}  // namespace skein
