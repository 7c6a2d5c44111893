#pragma once

#include <utility>
#include <vector>

#include "model/kernels/update.h"

namespace skein::test {

/// A list of tensors for kernels::adam, with its blocks, in the host's memory.
struct AdamTensors {
    explicit AdamTensors(std::vector<kernels::AdamTensor> all, DType copies = DType::f32)
        : tensors(std::move(all)), blocks(kernels::blocks_of(tensors)) {
        list.tensors = tensors.data();
        list.blocks = blocks.data();
        list.block_count = static_cast<std::int64_t>(blocks.size());
        list.copies = copies;
    }
    AdamTensors(const AdamTensors&) = delete;
    AdamTensors& operator=(const AdamTensors&) = delete;

    std::vector<kernels::AdamTensor> tensors;
    std::vector<kernels::TensorBlock> blocks;
    kernels::AdamList list;
};

}  // namespace skein::test
