#include "tests/support/cuda_shim.h"

#include <algorithm>
#include <array>
#include <map>
#include <new>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "model/base/error.h"
#include "tests/support/fibre.h"

namespace skein::test::shim {

Indices indices;

namespace {

constexpr int kWarp = 32, kMostThreads = 1024;
constexpr std::size_t kMostShared = std::size_t{48} << 10;

/// A thread of the block that runs, and what it waits for.
struct Thread {
    enum class State { kReady, kAtBarrier, kAtShuffle, kReturned } state = State::kReady;
    Place place;
    std::uint64_t brought = 0;
    struct Copy {
        void* to;
        const void* from;
        std::size_t bytes;
        bool exists;
    };
    std::vector<Copy> copies;  // on their way
    Fibre fibre;
};

struct Shim {
    Order order = Order::kForward;
    std::set<std::string> launched;
    std::string kernel;
    std::vector<std::unique_ptr<Thread>> threads;
    std::vector<std::array<std::uint64_t, kWarp>> of_warps;
    std::uint64_t blocks = 0;  // that have been started
    std::size_t shared = 0;    // bytes that the block has asked for
    std::size_t dynamic_bytes = 0;
    SharedArray dynamic;
    std::mt19937 random{1};

    Thread& running() { return *threads[static_cast<std::size_t>(indices.thread)]; }
};

Shim& shim() {
    static Shim one;
    return one;
}

/// "layer_norm_kernel<Bf16, 1>" of "... kKernel = skein::kernels::cuda::layer_norm_kernel<skein::Bf16, 1>;
/// ..."
std::string name_in(const std::string& signature) {
    const std::string mark = "kKernel = ";
    const std::size_t begin = signature.find(mark);
    if (begin == std::string::npos) return signature;
    std::string name;
    for (std::size_t i = begin + mark.size(); i < signature.find_first_of(";]", begin); ++i) {
        if (signature[i] != ':') {
            name += signature[i];
        } else if (signature[i + 1] == ':') {  // what stands before it is a namespace
            name.erase(name.find_last_of(" ,<") + 1);
        }
    }
    return name;
}

std::vector<std::int64_t> in_order(std::int64_t count) {
    std::vector<std::int64_t> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), std::int64_t{0});
    if (shim().order == Order::kBackward) std::reverse(all.begin(), all.end());
    if (shim().order == Order::kShuffled) std::shuffle(all.begin(), all.end(), shim().random);
    return all;
}

bool same(const Place& a, const Place& b) {
    return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

std::string describe(const Thread& thread) {
    const auto at = [&](const char* what) {
        return text(what, " at ", thread.place.file_name(), ":", thread.place.line());
    };
    switch (thread.state) {
        case Thread::State::kAtBarrier:
            return at("waits for its block");
        case Thread::State::kAtShuffle:
            return at("waits for its warp");
        case Thread::State::kReturned:
            return "has returned";
        default:
            return "runs";
    }
}

bool all_in(std::span<const std::unique_ptr<Thread>> threads, Thread::State state) {
    return std::all_of(threads.begin(), threads.end(), [&](const auto& thread) {
        return thread->state == state &&
               (state == Thread::State::kReturned || same(thread->place, threads[0]->place));
    });
}

/// The warps whose lanes all wait at one shuffle get what the others brought. False when there is none.
bool complete_shuffles(std::span<const std::unique_ptr<Thread>> threads) {
    bool any = false;
    for (std::size_t warp = 0; warp < threads.size() / kWarp; ++warp) {
        const auto lanes = threads.subspan(warp * kWarp, kWarp);
        if (!all_in(lanes, Thread::State::kAtShuffle)) continue;
        for (std::size_t lane = 0; lane < kWarp; ++lane) {
            shim().of_warps[warp][lane] = lanes[lane]->brought;
            lanes[lane]->state = Thread::State::kReady;
        }
        any = true;
    }
    return any;
}

[[noreturn]] void fail_apart(std::span<const std::unique_ptr<Thread>> threads) {
    std::map<std::string, std::pair<int, int>> found;  // the first thread, and how many
    for (std::size_t i = 0; i < threads.size(); ++i) {
        auto& [first, count] = found.try_emplace(describe(*threads[i]), static_cast<int>(i), 0).first->second;
        ++count;
    }
    std::string all;
    for (const auto& [what, who] : found)
        all += text(all.empty() ? "" : "; ", who.second, " of them, thread ", who.first, " first, ", what);
    fail(text("the threads come apart: ", all));
}

void run_block(std::span<const std::unique_ptr<Thread>> threads) {
    while (true) {
        for (const std::int64_t i : in_order(static_cast<std::int64_t>(threads.size()))) {
            Thread& thread = *threads[static_cast<std::size_t>(i)];
            if (thread.state != Thread::State::kReady) continue;
            indices.thread = static_cast<int>(i);
            thread.fibre.resume();
            if (!thread.fibre.done()) continue;
            thread.state = Thread::State::kReturned;
            if (!thread.copies.empty()) fail("a thread returns while its copies are on their way");
        }
        if (complete_shuffles(threads)) continue;
        if (all_in(threads, Thread::State::kReturned)) return;
        if (!all_in(threads, Thread::State::kAtBarrier)) fail_apart(threads);
        for (const auto& thread : threads) thread->state = Thread::State::kReady;
    }
}

}  // namespace

void fail(const std::string& what) {
    throw std::logic_error(
        text("kernel ", shim().kernel, ", block (", indices.block_x, ", ", indices.block_y, "): ", what));
}

void set_order(Order order) {
    shim().order = order;
}

const std::set<std::string>& launched_kernels() {
    return shim().launched;
}

void SharedArray::Free::operator()(void* memory) const {
    ::operator delete (memory, std::align_val_t{16});
}

void* SharedArray::get(std::size_t bytes) {
    if (block_ == shim().blocks) return memory_.get();
    shim().shared += bytes;
    if (shim().shared > kMostShared)
        fail(text("it has ", shim().shared, " bytes of shared memory, at most ", kMostShared));
    return get_dynamic(bytes);
}

void* SharedArray::get_dynamic(std::size_t bytes) {
    if (block_ == shim().blocks) return memory_.get();
    if (bytes != bytes_) memory_.reset(::operator new (bytes, std::align_val_t{16}));
    bytes_ = bytes;
    block_ = shim().blocks;
    std::memset(memory_.get(), 0xFF, bytes);
    return memory_.get();
}

void wait_for_block(const Place& place) {
    Thread& thread = shim().running();
    thread.state = Thread::State::kAtBarrier;
    thread.place = place;
    thread.fibre.yield();
}

std::span<const std::uint64_t, 32> wait_for_warp(std::uint64_t value, const Place& place) {
    Thread& thread = shim().running();
    thread.state = Thread::State::kAtShuffle;
    thread.place = place;
    thread.brought = value;
    thread.fibre.yield();
    return shim().of_warps[static_cast<std::size_t>(indices.thread / kWarp)];
}

std::byte* dynamic_shared() {
    return static_cast<std::byte*>(shim().dynamic.get_dynamic(shim().dynamic_bytes));
}

void copy_async(void* to, const void* from, std::size_t bytes, bool exists) {
    shim().running().copies.push_back({to, from, bytes, exists});
}

void wait_for_copies() {
    for (const Thread::Copy& copy : shim().running().copies) {
        if (copy.exists) {
            std::memcpy(copy.to, copy.from, copy.bytes);
        } else {
            std::memset(copy.to, 0, copy.bytes);
        }
    }
    shim().running().copies.clear();
}

void multiply_fragments(const std::array<MmaRegisters, kWarp>& lanes, float (*widen)(unsigned)) {
    float a[16][16], b[16][8];  // b[k][column]
    for (std::size_t lane = 0; lane < kWarp; ++lane) {
        const std::size_t group = lane / 4, in_group = lane % 4;
        for (std::size_t i = 0; i < 8; ++i) {  // a0 ... a7 in four registers
            const unsigned word = lanes[lane].a[i / 2];
            const std::size_t row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
            const std::size_t column = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
            a[row][column] = widen((i & 1) == 0 ? word & 0xFFFFu : word >> 16);
        }
        for (std::size_t i = 0; i < 4; ++i) {  // b0 ... b3 in two
            const unsigned word = lanes[lane].b[i / 2];
            const std::size_t row = in_group * 2 + (i & 1) + (i < 2 ? 0 : 8);
            b[row][group] = widen((i & 1) == 0 ? word & 0xFFFFu : word >> 16);
        }
    }
    for (std::size_t lane = 0; lane < kWarp; ++lane)
        for (std::size_t i = 0; i < 4; ++i) {
            const std::size_t row = lane / 4 + (i < 2 ? 0 : 8), column = lane % 4 * 2 + (i & 1);
            float sum = lanes[lane].d[i];
            for (std::size_t k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
            lanes[lane].d[i] = sum;
        }
}

void run(const char* signature, kernels::cuda::Grid grid, int threads, int shared_bytes,
         const std::function<void()>& kernel) {
    shim().kernel = name_in(signature);
    indices = {};
    if (grid.x <= 0 || grid.y <= 0) return;
    if (threads <= 0 || threads > kMostThreads || threads % kWarp != 0)
        fail(text("launched with ", threads, " threads, wanted a multiple of 32 up to ", kMostThreads));
    if (shared_bytes < 0 || shared_bytes > kernels::cuda::kMostDynamicShared)
        fail(text("launched with ", shared_bytes, " bytes of dynamic shared memory, at most ",
                  kernels::cuda::kMostDynamicShared));
    shim().dynamic_bytes = static_cast<std::size_t>(shared_bytes);
    if (grid.x > 0x7FFFFFFF || grid.y > 65535)
        fail(text("launched with ", grid.x, " by ", grid.y, " blocks"));
    shim().launched.insert(shim().kernel);
    while (shim().threads.size() < static_cast<std::size_t>(threads))
        shim().threads.push_back(std::make_unique<Thread>());
    shim().of_warps.resize(kMostThreads / kWarp);
    const auto team =
        std::span<const std::unique_ptr<Thread>>(shim().threads).first(static_cast<std::size_t>(threads));
    indices.threads = threads;
    for (const std::int64_t block : in_order(grid.x * grid.y)) {
        indices.block_x = block % grid.x;
        indices.block_y = block / grid.x;
        ++shim().blocks;
        shim().shared = 0;
        for (const auto& thread : team) {
            thread->fibre.start([&kernel] { kernel(); });
            thread->state = Thread::State::kReady;
            thread->copies.clear();
        }
        run_block(team);
    }
}

}  // namespace skein::test::shim
