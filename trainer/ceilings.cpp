#include "trainer/ceilings.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "model/base/parallel_for.h"
#include "model/kernels/initial_values.h"
#include "model/kernels/work.h"
#include "model/tensor/memory.h"
#include "model/tensor/tensor.h"

namespace skein {
namespace {

constexpr int kRepeats = 6;
constexpr std::int64_t kSmallest = 256, kLargest = 8192;
constexpr double kLongEnough = 2e-3;  // seconds

/// The least time of what `run` queues; the first time is not counted.
template <class Run>
double least_seconds(Stream& stream, const Run& run) {
    WorkMeter meter;
    stream.set_meter(&meter);
    for (int i = 0; i < kRepeats; ++i) run();
    const std::vector<WorkMeter::Entry> entries = meter.take(stream);
    stream.set_meter(nullptr);
    double least = entries[1].seconds;
    for (std::size_t i = 2; i < entries.size(); ++i) least = std::min(least, entries[i].seconds);
    return least;
}

Tensor random_matrix(Stream& stream, std::int64_t size, DType dtype, std::uint32_t what) {
    const Tensor values = Tensor::empty(stream, DType::f32, {size, size}),
                 matrix = Tensor::empty(stream, dtype, {size, size});
    kernels::InitialValuesArgs args;
    args.kind = kernels::InitialKind::kNormal;
    args.scale = 1.0;
    args.key = philox_key(1, RandomPurpose::kBench, 0, what);
    args.count = values.elements();
    args.values = values.data<float>();
    stream.run([&](auto& s) { kernels::fill_initial_values(s, args); });
    stream.run([&](auto& s) {
        kernels::copy_or_add(s, values.operand(), matrix.operand(), values.elements(), false);
    });
    return matrix;
}

double product_seconds(Stream& stream, std::int64_t size, DType dtype) {
    const Tensor a = random_matrix(stream, size, dtype, 0), b = random_matrix(stream, size, dtype, 1),
                 c = Tensor::empty(stream, dtype, {size, size});
    kernels::GemmArgs args;
    args.transpose_b = true;  // as a layer's forward
    args.m = args.n = args.k = args.lda = args.ldb = args.ldc = size;
    args.a = a.operand();
    args.b = b.operand();
    args.c = c.operand();
    return least_seconds(stream,
                         [&] { stream.run(work_of(args), [&](auto& s) { kernels::gemm(s, args); }); });
}

}  // namespace

double copy_rate(const std::optional<Gpu>& gpu, int threads, Communicator& world) {
    Stream stream(gpu, threads);
    const std::size_t bytes =
        gpu ? std::min(std::size_t{1} << 30, free_memory_of(*gpu) / 8 / 4096 * 4096) : std::size_t{256} << 20;
    const Shape shape{static_cast<std::int64_t>(bytes / sizeof(float))};
    const Tensor from = Tensor::zeros(stream, DType::f32, shape),
                 to = Tensor::zeros(stream, DType::f32, shape);
    const auto copy = [&](auto& s) {
        if constexpr (std::is_same_v<decltype(s), CpuStream&>) {
            const std::int64_t all = from.elements(), part = (all + s.threads - 1) / s.threads;
            parallel_blocks(s.threads, all, part, [&](std::int64_t begin, std::int64_t end) {
                std::memcpy(to.data<float>() + begin, from.data<float>() + begin,
                            static_cast<std::size_t>(end - begin) * sizeof(float));
            });
        } else {
            copy_memory(s, from.raw(), to.raw(), bytes);
        }
    };
    stream.synchronize();
    world.barrier();
    const Work work = copy_work(bytes);
    return work.bytes / least_seconds(stream, [&] { stream.run(work, copy); });
}

double product_rate(Gpu gpu, Precision precision, Communicator& world) {
    Stream stream(gpu, 1);
    world.barrier();
    double rate = 0.0;
    for (std::int64_t size = kSmallest; size <= kLargest; size *= 2) {
        const double seconds = product_seconds(stream, size, dtype_of(precision)),
                     n = static_cast<double>(size);
        rate = std::max(rate, 2.0 * n * n * n / seconds);
        if (seconds >= kLongEnough) break;
    }
    return rate;
}

}  // namespace skein
