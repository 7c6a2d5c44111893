#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "model/tensor/device.h"

namespace skein {

class Pool;

/// Where a pool's memory comes from.
class MemorySource {
  public:
    MemorySource() = default;
    MemorySource(const MemorySource&) = delete;
    MemorySource& operator=(const MemorySource&) = delete;
    virtual ~MemorySource() = default;

    virtual Device device() const = 0;
    /// Aligned to 64 bytes at least; null where there is none.
    virtual std::byte* allocate(std::size_t bytes) = 0;
    virtual void release(std::byte* memory) noexcept = 0;
    /// Its user gave the memory back to the pool; the next one gets it.
    virtual void given_back(std::byte*) noexcept {}
    virtual void handed_out_again(std::byte*) {}
    /// Whether that one can use memory that was given back without waiting.
    virtual bool is_idle(std::byte*) const { return true; }
    /// Whether there is memory behind what it hands out (PlanMemory).
    virtual bool is_real() const { return true; }
};

/// The host's own: blocks of 1 MiB and more are aligned to, and advised to use, huge pages.
class HostMemory final : public MemorySource {
  public:
    Device device() const override { return Device::cpu; }
    std::byte* allocate(std::size_t bytes) override;
    void release(std::byte* memory) noexcept override;
};

/// Addresses without memory behind them, each handed out once: of a pool whose statistics alone are wanted.
/// Any access to them is a fault.
class PlanMemory final : public MemorySource {
  public:
    explicit PlanMemory(Device device) : device_(device) {}

    Device device() const override { return device_; }
    std::byte* allocate(std::size_t bytes) override;
    void release(std::byte*) noexcept override {}
    bool is_real() const override { return false; }

  private:
    Device device_;
    std::uintptr_t next_ = kFirst;
    // Beyond what a system maps unless it is asked for addresses as high as these.
    static constexpr std::uintptr_t kFirst = std::uintptr_t{0x00F0} << 48;
};

/// One block of memory that tensors share; it goes back to its pool when the last of them is gone.
struct MemoryBlock {
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    std::size_t asked = 0;  ///< the most that its users asked for
    std::size_t used = 0;   ///< what its user asked for, rounded up to its class
    Pool* pool = nullptr;
    std::atomic<int> references{0};
};

/// Counted reference to a MemoryBlock.
class BlockRef {
  public:
    BlockRef() = default;
    explicit BlockRef(MemoryBlock* block) : block_(block) { retain(); }
    BlockRef(const BlockRef& other) : block_(other.block_) { retain(); }
    BlockRef(BlockRef&& other) noexcept : block_(other.block_) { other.block_ = nullptr; }
    BlockRef& operator=(BlockRef other) noexcept {
        std::swap(block_, other.block_);
        return *this;
    }
    ~BlockRef() { release(); }

    MemoryBlock* get() const { return block_; }
    explicit operator bool() const { return block_ != nullptr; }

  private:
    void retain() {
        if (block_) block_->references.fetch_add(1, std::memory_order_relaxed);
    }
    void release() noexcept;

    MemoryBlock* block_ = nullptr;
};

/// Keeps freed blocks by size class and hands them out again, the smallest that is large enough and at most
/// twice that, so that a training step whose shapes repeat asks the system for nothing. Classes are at most
/// 1/8 apart. A GPU's memory is handed out in the order of
/// its stream: a block that was given back may be in use by work that is queued, and who gets it queues
/// behind. Must outlive every tensor that lives in it. Safe to use from any thread.
class Pool {
  public:
    struct Statistics {
        std::size_t in_use = 0;          ///< bytes in live tensors, rounded up to size classes
        std::size_t peak = 0;            ///< the largest in_use since the start or reset_peak
        std::size_t reserved = 0;        ///< bytes asked of the system and not given back
        std::size_t touched = 0;         ///< of these, what users asked for: the rest rounds up to classes
        std::uint64_t system_calls = 0;  ///< how often the system was asked
    };

    /// Of the host.
    Pool();
    explicit Pool(std::unique_ptr<MemorySource> source);
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool();

    Device device() const { return source_->device(); }
    bool is_real() const { return source_->is_real(); }
    /// A block of at least `bytes` bytes, contents undefined. When there is no memory, not even
    /// after the system got back what is not in use, throws IoError, and for a GPU's CudaError.
    BlockRef allocate(std::size_t bytes);
    Statistics statistics() const;
    void reset_peak();

  private:
    friend class BlockRef;
    void give_back(MemoryBlock* block) noexcept;
    MemoryBlock* take_free(std::vector<MemoryBlock*>& free);
    void release_free();

    std::unique_ptr<MemorySource> source_;
    mutable std::mutex mutex_;
    std::map<std::size_t, std::vector<MemoryBlock*>> free_;
    std::vector<std::unique_ptr<MemoryBlock>> blocks_;
    Statistics statistics_;
};

}  // namespace skein
