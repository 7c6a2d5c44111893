#include "trainer/update_list.h"

#include <span>
#include <utility>

namespace skein {
namespace {

/// A copy of host structures in the device's memory.
template <class T>
Tensor on_device(Stream& stream, const std::vector<T>& values) {
    static_assert(sizeof(T) % 8 == 0);
    const auto words = static_cast<std::int64_t>(values.size() * sizeof(T) / 8);
    return Tensor::from_bytes(stream, DType::i64, {words}, std::as_bytes(std::span(values)));
}

}  // namespace

void UpdateList::set(Stream& stream, std::vector<kernels::AdamTensor> tensors, DType copies) {
    copies_ = copies;
    if (tensors == tensors_) return;
    tensors_ = std::move(tensors);
    const std::vector<kernels::TensorBlock> blocks = kernels::blocks_of(tensors_);
    first_block_.clear();
    for (std::size_t block = 0; block < blocks.size(); ++block)
        while (std::ssize(first_block_) <= blocks[block].tensor)
            first_block_.push_back(static_cast<std::int64_t>(block));
    first_block_.resize(tensors_.size() + 1, static_cast<std::int64_t>(blocks.size()));
    device_tensors_ = on_device(stream, tensors_);
    device_blocks_ = on_device(stream, blocks);
}

kernels::AdamList UpdateList::of(std::size_t first, std::size_t last) const {
    kernels::AdamList list;
    if (first == last) return list;
    list.tensors = reinterpret_cast<const kernels::AdamTensor*>(device_tensors_.raw());
    list.blocks = reinterpret_cast<const kernels::TensorBlock*>(device_blocks_.raw()) + first_block_[first];
    list.block_count = first_block_[last] - first_block_[first];
    list.copies = copies_;
    return list;
}

}  // namespace skein
