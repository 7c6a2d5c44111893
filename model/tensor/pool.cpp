#include "model/tensor/pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "model/base/error.h"

namespace skein {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Powers of two in eight steps, so that at most an eighth is wasted.
std::size_t size_class(std::size_t bytes) {
    const std::size_t least = std::max(bytes, kAlignment * 8);
    const std::size_t step = std::bit_floor(least) / 8;
    return (least + step - 1) / step * step;
}

}  // namespace

void BlockRef::release() noexcept {
    if (block_ && block_->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
        block_->pool->give_back(block_);
}

Pool::~Pool() {
    for (const auto& block : blocks_) std::free(block->data);
}

BlockRef Pool::allocate(std::size_t bytes) {
    const std::size_t wanted = size_class(bytes);
    const std::lock_guard lock(mutex_);
    statistics_.in_use += wanted;
    statistics_.peak = std::max(statistics_.peak, statistics_.in_use);
    std::vector<MemoryBlock*>& free = free_[wanted];
    if (!free.empty()) {
        MemoryBlock* block = free.back();
        free.pop_back();
        return BlockRef(block);
    }
    const bool huge = wanted >= kHugePage / 2;
    const std::size_t alignment = huge ? kHugePage : kAlignment;
    void* data = std::aligned_alloc(alignment, (wanted + alignment - 1) / alignment * alignment);
    if (!data) {
        statistics_.in_use -= wanted;
        throw IoError(
            text("memory: the system refused ", wanted, " bytes; ", statistics_.reserved, " are in use"));
    }
    if (huge) madvise(data, wanted, MADV_HUGEPAGE);
    statistics_.reserved += wanted;
    ++statistics_.system_calls;
    auto block = std::make_unique<MemoryBlock>();
    block->data = static_cast<std::byte*>(data);
    block->bytes = wanted;
    block->pool = this;
    free.reserve(free.size() + 8);
    blocks_.push_back(std::move(block));
    return BlockRef(blocks_.back().get());
}

void Pool::give_back(MemoryBlock* block) noexcept {
    const std::lock_guard lock(mutex_);
    statistics_.in_use -= block->bytes;
    free_[block->bytes].push_back(block);
}

Pool::Statistics Pool::statistics() const {
    const std::lock_guard lock(mutex_);
    return statistics_;
}

void Pool::reset_peak() {
    const std::lock_guard lock(mutex_);
    statistics_.peak = statistics_.in_use;
}

}  // namespace skein
