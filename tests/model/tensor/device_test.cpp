// What streams, events, copies and the pool promise, on the CPU and on a GPU.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <set>
#include <vector>

#include "model/base/error.h"
#include "model/tensor/memory.h"
#include "tests/support/test_device.h"

namespace skein::test {
namespace {

std::vector<float> counted(std::size_t count, float first) {
    std::vector<float> values(count);
    std::iota(values.begin(), values.end(), first);
    return values;
}

void copy(Stream& stream, const Tensor& from, const Tensor& to) {
    stream.run([&](auto& s) { copy_memory(s, from.raw(), to.raw(), from.bytes()); });
}

TEST(Device, AStreamIsWhereItWasAskedFor) {
    Stream stream(test_gpu(), 3);
    EXPECT_EQ(stream.device(), test_gpu() ? Device::cuda : Device::cpu);
    EXPECT_EQ(stream.gpu().has_value(), test_gpu().has_value());
    EXPECT_EQ(stream.threads(), 3);
    EXPECT_EQ(Tensor::zeros(stream, DType::f32, {4}).device(), stream.device());
    EXPECT_EQ(stream.host_pool().device(), Device::cpu);
    EXPECT_EQ(Tensor{}.device(), Device::cpu);
}

TEST(Device, TheSourceOfAnUploadMayChangeAtOnce) {
    Stream stream(test_gpu(), 1);
    std::vector<float> values = counted(1000, 1.0f);
    const Tensor made = Tensor::from<float>(stream, {1000}, values),
                 assigned = Tensor::empty(stream, DType::f32, {1000});
    std::ranges::fill(values, -1.0f);
    values.assign(1000, 7.0f);
    assign(stream, assigned, values);
    std::ranges::fill(values, -2.0f);
    EXPECT_EQ(floats_of(stream, made), counted(1000, 1.0f));
    EXPECT_EQ(floats_of(stream, assigned), std::vector<float>(1000, 7.0f));
    EXPECT_THROW(assign(stream, assigned, counted(999, 0.0f)), ShapeError);
}

TEST(Device, WorkIsDoneInTheOrderInWhichItIsQueued) {
    Stream stream(test_gpu(), 1);
    const Tensor a = Tensor::from<float>(stream, {4}, counted(4, 1.0f)),
                 b = Tensor::zeros(stream, DType::f32, {4});
    copy(stream, a, b);
    assign(stream, a, counted(4, 100.0f));
    const Tensor c = Tensor::empty(stream, DType::f32, {4});
    copy(stream, a, c);
    stream.run([&](auto& s) { zero_memory(s, a.raw(), a.bytes()); });
    EXPECT_EQ(floats_of(stream, b), counted(4, 1.0f));
    EXPECT_EQ(floats_of(stream, c), counted(4, 100.0f));
    EXPECT_EQ(floats_of(stream, a), std::vector<float>(4, 0.0f));
}

TEST(Device, RowsAreCopiedFromAndToAnyStride) {
    Stream stream(test_gpu(), 1);
    const Tensor from = Tensor::from<float>(stream, {3, 4}, counted(12, 0.0f)),
                 to = Tensor::zeros(stream, DType::f32, {3, 3});
    stream.run([&](auto& s) { copy_rows(s, from.raw() + 4, 16, to.raw(), 12, 8, 3); });
    EXPECT_EQ(floats_of(stream, to), (std::vector<float>{1, 2, 0, 5, 6, 0, 9, 10, 0}));
}

TEST(Device, AnEventIsOverWhenWhatWasQueuedBeforeItIsDone) {
    Stream stream(test_gpu(), 1);
    EXPECT_TRUE(Event().done());
    const Tensor tensor = Tensor::from<float>(stream, {100}, counted(100, 5.0f));
    const Tensor host = start_on_host(stream, tensor);
    Event event;
    event.record(stream);
    assign(stream, tensor, counted(100, 0.0f));  // behind the event, and behind the copy
    event.wait();
    EXPECT_TRUE(event.done());
    if (stream.gpu()) {
        EXPECT_EQ(std::vector<float>(host.span<float>().begin(), host.span<float>().end()),
                  counted(100, 5.0f));
    }
    event.record(stream);  // once more
    stream.synchronize();
    EXPECT_TRUE(event.done());
    EXPECT_EQ(floats_of(stream, tensor), counted(100, 0.0f));
}

TEST(Device, MemoryThatIsGivenBackIsUsedAgainBehindTheWorkThatReadsIt) {
    Stream stream(test_gpu(), 1);
    std::set<const std::byte*> places;
    std::vector<Tensor> results;
    for (int i = 0; i < 10; ++i) {
        const Tensor input =
            Tensor::from<float>(stream, {1000}, counted(1000, 5000.0f * static_cast<float>(i)));
        places.insert(input.raw());
        results.push_back(Tensor::empty(stream, DType::f32, {1000}));
        copy(stream, input, results.back());
    }  // given back while the copy out of it may still be queued
    EXPECT_LE(places.size(), 3u);
    for (int i = 0; i < 10; ++i)
        EXPECT_EQ(floats_of(stream, results[static_cast<std::size_t>(i)]),
                  counted(1000, 5000.0f * static_cast<float>(i)));
}

TEST(Device, RepeatedStepsAskTheSystemForNothing) {
    Stream stream(test_gpu(), 1);
    const auto step = [&](float first) {
        const Tensor a = Tensor::from<float>(stream, {5000}, counted(5000, first)),
                     b = Tensor::from<std::int32_t>(stream, {3}, std::vector<std::int32_t>{1, 2, 3}),
                     c = Tensor::empty(stream, DType::f32, {5000});
        copy(stream, a, c);
        EXPECT_EQ(floats_of(stream, c)[4999], first + 4999.0f);
    };
    for (int i = 0; i < 5; ++i) step(0.0f);  // a copy may still be on its way when the next one begins
    const auto calls = [&] {
        std::uint64_t all = 0;
        for (Pool* pool : {&stream.pool(), &stream.input_pool(), &stream.host_pool()})
            all += pool->statistics().system_calls;
        return all;
    };
    const std::uint64_t before = calls();
    for (int i = 1; i < 10; ++i) step(static_cast<float>(i));
    EXPECT_EQ(calls(), before);
    EXPECT_EQ(stream.pool().statistics().in_use, 0u);
    EXPECT_EQ(stream.input_pool().statistics().in_use, 0u);
}

TEST(Device, TheHostReadsAGpusTensorByACopyAlone) {
    Stream stream(test_gpu(), 1);
    const Tensor tensor = Tensor::from<float>(stream, {4}, counted(4, 1.0f));
    const Tensor host = on_host(stream, tensor);
    EXPECT_EQ(host.device(), Device::cpu);
    EXPECT_EQ(host.shape(), tensor.shape());
    if (!stream.gpu()) {
        EXPECT_EQ(host.raw(), tensor.raw()) << "on the CPU it is the tensor itself";
        return;
    }
    EXPECT_NE(host.raw(), tensor.raw());
    EXPECT_THROW(tensor.span<float>(), ShapeError);
    EXPECT_THROW(tensor.raw_span(), ShapeError);
    EXPECT_NO_THROW(tensor.data<float>()) << "for kernels";
    EXPECT_TRUE(on_host(stream, Tensor::empty(stream, DType::f32, {0})).span<float>().empty());
}

}  // namespace
}  // namespace skein::test
