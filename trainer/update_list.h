#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "model/kernels/update.h"
#include "model/tensor/stream.h"
#include "model/tensor/tensor.h"

namespace skein {

/// A list of tensors in the device's memory for the kernels of the update.
class UpdateList {
  public:
    /// Renews the device's copy where it differs. Returns before that is there.
    void set(Stream& stream, std::vector<kernels::AdamTensor> tensors, DType copies);
    /// Those of tensors [first, last).
    kernels::AdamList of(std::size_t first, std::size_t last) const;
    std::span<const kernels::AdamTensor> tensors(std::size_t first, std::size_t last) const {
        return std::span(tensors_).subspan(first, last - first);
    }

  private:
    std::vector<kernels::AdamTensor> tensors_;  // what the device has
    std::vector<std::int64_t> first_block_;     // by tensor, and the end
    Tensor device_tensors_, device_blocks_;
    DType copies_ = DType::f32;
};

}  // namespace skein
