#pragma once

#include <cstdint>

#include "model/nn/model.h"

namespace skein {

/// What a training step is to send, and what of it.
struct TrafficOf {
    const Model& model;  ///< one rank's part
    int data_ranks = 1, tensor_ranks = 1;
    int lanes = 1;                       ///< none of them empty
    std::int64_t gradient_elements = 0;  ///< of a rank's flat gradient buffer
    std::int64_t source_rows = 0;        ///< of an encoder, padding among them: over all passes of the step
    std::int64_t rows = 0;               ///< of a decoder, likewise
};

/// Bytes that all ranks together send in a step.
struct StepTraffic {
    std::int64_t data = 0;    ///< gradients over data-parallel ranks; with zero 1 half of it is parameters
    std::int64_t tensor = 0;  ///< activations, their gradients and statistics over tensor-parallel ranks
};

/// By formula. With R data-parallel ranks, a power of two, n gradient elements of 4 bytes and T tensor
/// groups:
///   data    2 (R - 1) n · 4 · T, as a ring's all-reduce has it
/// With P ranks in a group, activations of e bytes, and A(r) = 2 (P - 1) · r · width · e for an all-reduce of
/// r rows, which a gather and a scattered sum come to as well:
///   decoder  (4 · layers + 2) A(rows): a sum behind each sublayer and the embedding in forward, one in front
///   of
///            each sublayer and the output projection in backward; an encoder likewise on its rows, a decoder
///            that attends to one 6 · layers + 2
///   logits   40 P (P - 1) · rows, whatever the vocabulary
///   norm     8 (P - 1) for each block of 65,536 elements, on each of R ranks
///   gradients of which each rank has a part (norms with sequence parallelism; key-value weights where ranks
///            outnumber the key-value heads), all-reduced in fp32 in each lane
StepTraffic step_traffic(const TrafficOf& of);

}  // namespace skein
