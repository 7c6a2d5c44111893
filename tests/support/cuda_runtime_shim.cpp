// model/tensor/cuda/runtime.h without a GPU. What is queued on a stream runs when somebody waits for it or
// asks whether it is done, and not before; so what the host reads or changes too early shows. Device memory
// cannot be touched by the host: its pages are open only while queued work runs.
#include "tests/support/cuda_runtime_shim.h"

#include <sys/mman.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "model/base/error.h"
#include "model/tensor/cuda/runtime.h"

namespace skein::test::shim {
namespace {

// A kernel runs with what all launches share, so threads with streams of their own take turns: a step of
// queued work each.
std::recursive_mutex device;

constexpr std::size_t kArena = std::size_t{2} << 30, kAlignment = 256;

/// Pages that only queued work may touch.
class DeviceMemory {
  public:
    DeviceMemory() {
        void* pages = mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (pages == MAP_FAILED) throw IoError("shim: no address space for the device's memory");
        begin_ = static_cast<std::byte*>(pages);
        free_[0] = kArena;
    }

    std::byte* allocate(std::size_t bytes) {
        bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
        for (const auto& [at, size] : free_) {
            if (size < bytes) continue;
            const std::size_t first = at, rest = size - bytes;
            free_.erase(first);
            if (rest > 0) free_[first + bytes] = rest;
            used_[first] = bytes;
            return begin_ + first;
        }
        return nullptr;
    }
    void release(std::byte* memory) {
        const auto at = static_cast<std::size_t>(memory - begin_);
        auto here = free_.emplace(at, used_.at(at)).first;
        used_.erase(at);
        if (const auto next = std::next(here);
            next != free_.end() && here->first + here->second == next->first) {
            here->second += next->second;
            free_.erase(next);
        }
        if (here != free_.begin())
            if (const auto before = std::prev(here); before->first + before->second == here->first) {
                before->second += here->second;
                free_.erase(here);
            }
    }
    bool holds(const void* place) const {
        const auto* at = static_cast<const std::byte*>(place);
        return at >= begin_ && at < begin_ + kArena;
    }
    void open(bool open) { mprotect(begin_, kArena, open ? PROT_READ | PROT_WRITE : PROT_NONE); }

  private:
    std::byte* begin_ = nullptr;
    std::map<std::size_t, std::size_t> free_, used_;  // bytes by place
};

DeviceMemory& memory() {
    static DeviceMemory one;
    return one;
}

struct FakeStream {
    std::deque<std::function<bool()>> queue;  // each until it returns true
    std::uint64_t queued = 0, done = 0;
};

using Clock = std::chrono::steady_clock;

struct FakeEvent {
    FakeStream* stream = nullptr;
    std::uint64_t place = 0;
    std::shared_ptr<Clock::time_point> time;  // of a timing event: when the stream came to it
};

FakeStream& of(void* stream) {
    return *static_cast<FakeStream*>(stream);
}

FakeEvent& event_of(void* event) {
    return *static_cast<FakeEvent*>(event);
}

int opened = 0;

/// Opens the device's memory while it lives.
struct OnDevice {
    OnDevice() {
        const std::lock_guard turn(device);
        if (opened++ == 0) memory().open(true);
    }
    ~OnDevice() {
        const std::lock_guard turn(device);
        if (--opened == 0) memory().open(false);
    }
};

/// One step of the work that is next; whether it is done with.
bool advance(FakeStream& stream) {
    const std::lock_guard turn(device);
    const OnDevice here;
    const std::function<bool()> work = stream.queue.front();
    if (!work()) return false;
    stream.queue.pop_front();
    ++stream.done;
    return true;
}

void run_until(FakeStream& stream, std::uint64_t place) {
    const OnDevice here;  // opened once for all that is queued
    while (stream.done < place)
        if (!advance(stream)) std::this_thread::yield();
}

}  // namespace

void queue_on(void* stream, std::function<void()> work) {
    if (!stream) return work();
    queue_until(stream, [work = std::move(work)] {
        work();
        return true;
    });
}

void queue_until(void* stream, std::function<bool()> step) {
    const std::lock_guard turn(device);
    of(stream).queue.push_back(std::move(step));
    ++of(stream).queued;
}

bool is_on_device(const void* place) {
    return memory().holds(place);
}

}  // namespace skein::test::shim

namespace skein::cuda {

using namespace test::shim;

GpuReport find_gpus() {
    const char* count = std::getenv("SKEIN_SHIM_GPUS");
    const int gpus = count ? std::atoi(count) : 1;
    return {gpus, gpus > 0 ? "" : "no GPU was found", true, ""};
}

std::string runtime_version() {
    return "on the CPU";
}

GpuProperties properties_of(int) {
    return {"CUDA on the CPU", 9, 0, kArena, 1, 13000, 13000};
}

std::size_t free_memory(int) {
    return kArena;
}

void* make_stream(int) {
    const std::lock_guard turn(device);
    static std::vector<std::unique_ptr<FakeStream>> streams;  // an event may outlive its stream
    return streams.emplace_back(std::make_unique<FakeStream>()).get();
}
void destroy_stream(void*) noexcept {}
void synchronize(void* stream) {
    run_until(of(stream), of(stream).queued);
}

void* make_event() {
    return new FakeEvent;
}
void* make_timing_event() {
    auto* event = new FakeEvent;
    event->time = std::make_shared<Clock::time_point>();
    return event;
}
void destroy_event(void* event) noexcept {
    delete &event_of(event);
}
void record(void* event, void* stream) {
    FakeEvent& at = event_of(event);
    if (at.time) queue_on(stream, [time = at.time] { *time = Clock::now(); });
    at.stream = &of(stream);
    at.place = of(stream).queued;
}
bool is_done(void* event) {
    const FakeEvent& place = event_of(event);
    if (!place.stream || place.stream->done >= place.place) return true;
    advance(*place.stream);  // who asks often enough gets there
    return place.stream->done >= place.place;
}
void wait(void* event) {
    if (event_of(event).stream) run_until(*event_of(event).stream, event_of(event).place);
}
double seconds_between(void* from, void* to) {
    const FakeEvent &first = event_of(from), &last = event_of(to);
    for (const FakeEvent* event : {&first, &last})
        if (!event->time || !event->stream || event->stream->done < event->place)
            throw CudaError("shim: the time of an event that is not done, or has none");
    return std::chrono::duration<double>(*last.time - *first.time).count();
}
void make_wait(void* stream, void* event) {
    const FakeEvent place = event_of(event);
    if (!place.stream) return;
    queue_until(stream, [place] {
        if (place.stream->done < place.place) advance(*place.stream);
        return place.stream->done >= place.place;
    });
}

std::byte* allocate(std::size_t bytes) {
    const std::lock_guard turn(device);
    return memory().allocate(bytes);
}
void release(std::byte* block) noexcept {
    const std::lock_guard turn(device);
    memory().release(block);
}
std::byte* allocate_host(std::size_t bytes) {
    return static_cast<std::byte*>(std::malloc(bytes));
}
void release_host(std::byte* block) noexcept {
    std::free(block);
}

void zero(void* to, std::size_t bytes, void* stream) {
    queue_on(stream, [=] { std::memset(to, 0, bytes); });
}
void copy(const void* from, void* to, std::size_t bytes, void* stream) {
    queue_on(stream, [=] { std::memcpy(to, from, bytes); });
}
void copy_rows(const void* from, std::size_t from_stride, void* to, std::size_t to_stride, std::size_t bytes,
               std::size_t rows, void* stream) {
    queue_on(stream, [=] {
        for (std::size_t row = 0; row < rows; ++row)
            std::memcpy(static_cast<std::byte*>(to) + row * to_stride,
                        static_cast<const std::byte*>(from) + row * from_stride, bytes);
    });
}
void copy_to_device(const void* host, void* to, std::size_t bytes, void* stream) {
    copy(host, to, bytes, stream);
}
void copy_to_host(const void* from, void* host, std::size_t bytes, void* stream) {
    copy(from, host, bytes, stream);
}

}  // namespace skein::cuda
