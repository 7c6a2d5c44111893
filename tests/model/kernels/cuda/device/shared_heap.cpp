#include "tests/model/kernels/cuda/device/shared_heap.h"

#include <cuda_runtime_api.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>

#include "model/base/error.h"

namespace skein::test {
namespace {

constexpr std::size_t kBytes = std::size_t{1} << 30;

constexpr std::size_t kAlignment = 64;

/// Blocks of a power of two bytes, given back to a list of their size. In front of each lies its size. Before
/// the start, and for what was allocated then, the host's own memory.
class SharedHeap {
  public:
    void start() {
        void* memory = nullptr;
        const cudaError_t status = cudaHostAlloc(&memory, kBytes, cudaHostAllocMapped);
        if (status != cudaSuccess)
            throw CudaError(text("cudaHostAlloc of ", kBytes, " bytes: ", cudaGetErrorString(status)));
        const std::lock_guard lock(mutex_);
        begin_ = next_ = static_cast<std::byte*>(memory);
        end_ = begin_ + kBytes;
    }

    void* allocate(std::size_t bytes) noexcept {
        const std::lock_guard lock(mutex_);
        if (!begin_) return std::aligned_alloc(kAlignment, (bytes / kAlignment + 1) * kAlignment);
        const std::size_t whole = std::bit_ceil(bytes + kHeader);
        auto& list = free_[static_cast<std::size_t>(std::countr_zero(whole))];
        std::byte* block = static_cast<std::byte*>(list);
        if (block) {
            list = *reinterpret_cast<void**>(block + kHeader);
        } else {
            if (whole > static_cast<std::size_t>(end_ - next_)) return nullptr;
            block = next_;
            next_ += whole;
        }
        *reinterpret_cast<std::size_t*>(block) = whole;
        return block + kHeader;
    }

    void release(void* data) noexcept {
        auto* const at = static_cast<std::byte*>(data);
        const std::lock_guard lock(mutex_);
        if (!begin_ || at < begin_ || at >= end_) return std::free(data);
        std::byte* const block = at - kHeader;
        auto& list =
            free_[static_cast<std::size_t>(std::countr_zero(*reinterpret_cast<std::size_t*>(block)))];
        *static_cast<void**>(data) = list;
        list = block;
    }

  private:
    static constexpr std::size_t kHeader = kAlignment;  // what follows it is as aligned as the block
    std::mutex mutex_;
    std::byte *begin_ = nullptr, *next_ = nullptr, *end_ = nullptr;
    std::array<void*, 64> free_{};
};

/// Constant-initialized and never destroyed: operator new is called before main and after it.
union Immortal {
    SharedHeap heap;
    constexpr Immortal() : heap() {}
    ~Immortal() {}
};
constinit Immortal immortal;

}  // namespace

void start_shared_heap() {
    immortal.heap.start();
}

void* shared_allocate(std::size_t bytes, std::size_t alignment = kAlignment) {
    if (alignment > kAlignment) throw std::bad_alloc();
    if (void* const data = immortal.heap.allocate(bytes)) return data;
    throw std::bad_alloc();
}
void shared_release(void* data) noexcept {
    if (data) immortal.heap.release(data);
}

}  // namespace skein::test

void* operator new(std::size_t bytes) {
    return skein::test::shared_allocate(bytes);
}
void* operator new[](std::size_t bytes) {
    return skein::test::shared_allocate(bytes);
}
void operator delete(void* data) noexcept {
    skein::test::shared_release(data);
}
void operator delete[](void* data) noexcept {
    skein::test::shared_release(data);
}
void operator delete(void* data, std::size_t) noexcept {
    skein::test::shared_release(data);
}
void operator delete[](void* data, std::size_t) noexcept {
    skein::test::shared_release(data);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return skein::test::shared_allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* data, std::align_val_t) noexcept {
    skein::test::shared_release(data);
}
void operator delete(void* data, std::size_t, std::align_val_t) noexcept {
    skein::test::shared_release(data);
}
