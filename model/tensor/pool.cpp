#include "model/tensor/pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <iterator>
#include <utility>

#include "model/base/error.h"

namespace skein {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
// How many times as large as asked for a block may be that is handed out again. Where every pass has another
// shape, pairs' say, blocks of one size only would add up to twice the memory.
constexpr std::size_t kLoosest = 2;

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

std::byte* HostMemory::allocate(std::size_t bytes) {
    const bool huge = bytes >= kHugePage / 2;
    const std::size_t alignment = huge ? kHugePage : kAlignment;
    void* data = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (data && huge) madvise(data, bytes, MADV_HUGEPAGE);
    return static_cast<std::byte*>(data);
}

void HostMemory::release(std::byte* memory) noexcept {
    std::free(memory);
}

std::byte* PlanMemory::allocate(std::size_t bytes) {
    constexpr std::uintptr_t kPage = 4096;
    const std::uintptr_t address = next_;
    next_ += (bytes + kPage - 1) / kPage * kPage;
    return reinterpret_cast<std::byte*>(address);  // NOLINT: an address that is never followed
}

Pool::Pool() : Pool(std::make_unique<HostMemory>()) {}

Pool::Pool(std::unique_ptr<MemorySource> source) : source_(std::move(source)) {}

Pool::~Pool() {
    for (const auto& block : blocks_) source_->release(block->data);
}

BlockRef Pool::allocate(std::size_t bytes) {
    const std::size_t wanted = size_class(bytes);
    const std::lock_guard lock(mutex_);
    const auto hand_out = [&](MemoryBlock* block) {
        block->used = wanted;
        statistics_.in_use += wanted;
        statistics_.peak = std::max(statistics_.peak, statistics_.in_use);
        if (bytes > block->asked) {
            statistics_.touched += bytes - block->asked;
            block->asked = bytes;
        }
        return BlockRef(block);
    };
    for (auto at = free_.lower_bound(wanted); at != free_.end() && at->first <= kLoosest * wanted; ++at)
        if (MemoryBlock* block = take_free(at->second)) return hand_out(block);
    std::byte* data = source_->allocate(wanted);
    if (!data) {
        release_free();
        data = source_->allocate(wanted);
    }
    if (!data) {
        const std::string what = text(" refused ", wanted, " bytes; ", statistics_.reserved, " are in use");
        if (source_->device() == Device::cuda) throw CudaError("memory: the GPU" + what);
        throw IoError("memory: the system" + what);
    }
    statistics_.reserved += wanted;
    ++statistics_.system_calls;
    auto block = std::make_unique<MemoryBlock>();
    block->data = data;
    block->bytes = wanted;
    block->pool = this;
    std::vector<MemoryBlock*>& free = free_[wanted];
    free.reserve(free.size() + 8);
    blocks_.push_back(std::move(block));
    return hand_out(blocks_.back().get());
}

// The one that was given back last, as it may still be in a cache, if it can be used at once.
MemoryBlock* Pool::take_free(std::vector<MemoryBlock*>& free) {
    constexpr std::size_t kMostBusy = 3;  // rather than wait for one, there are more
    const auto idle = std::find_if(free.rbegin(), free.rend(),
                                   [&](const MemoryBlock* block) { return source_->is_idle(block->data); });
    if (free.empty() || (idle == free.rend() && free.size() < kMostBusy)) return nullptr;
    const auto taken = idle == free.rend() ? free.begin() : std::prev(idle.base());
    MemoryBlock* block = *taken;
    source_->handed_out_again(block->data);
    free.erase(taken);
    return block;
}

void Pool::release_free() {
    for (const auto& [bytes, free] : free_)
        for (MemoryBlock* block : free) {
            source_->release(block->data);
            block->data = nullptr;
            statistics_.reserved -= bytes;
            statistics_.touched -= block->asked;
        }
    free_.clear();
    std::erase_if(blocks_, [](const auto& block) { return !block->data; });
}

void Pool::give_back(MemoryBlock* block) noexcept {
    const std::lock_guard lock(mutex_);
    statistics_.in_use -= block->used;
    source_->given_back(block->data);
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
