// The times of a stream's work, on the CPU and on a GPU.
#include "model/tensor/work_meter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "model/tensor/memory.h"
#include "tests/support/test_device.h"

namespace skein::test {
namespace {

TEST(WorkMeter, TellsWhatWasRunInOrderAndOnce) {
    Stream stream(test_gpu(), 1);
    WorkMeter meter;
    const Tensor tensor = Tensor::empty(stream, DType::f32, {1000});
    const auto zero = [&](const char* name) {
        stream.run({name, 4000.0, 1.0}, [&](auto& s) { zero_memory(s, tensor.raw(), tensor.bytes()); });
    };
    zero("before there is a meter");
    for (int round = 0; round < 3; ++round) {  // the second one uses what the first has made
        stream.set_meter(&meter);
        zero("first");
        stream.run([&](auto& s) { zero_memory(s, tensor.raw(), tensor.bytes()); });
        zero("second");
        stream.set_meter(nullptr);
        zero("after it");
        const std::vector<WorkMeter::Entry> entries = meter.take(stream);
        ASSERT_EQ(entries.size(), 2u);
        EXPECT_EQ(entries[0].work.name, "first");
        EXPECT_EQ(entries[1].work.name, "second");
        EXPECT_EQ(entries[1].work.bytes, 4000.0);
        for (const WorkMeter::Entry& entry : entries) EXPECT_GE(entry.seconds, 0.0);
        EXPECT_TRUE(meter.take(stream).empty());
    }
}

TEST(WorkMeter, TimesAreOfTheWorkAndNotOfWhatLiesBetween) {
    Stream stream(test_gpu(), 1);
    WorkMeter meter;
    const Tensor large = Tensor::empty(stream, DType::f32, {8 << 20});
    const auto zero = [&](auto& s) { zero_memory(s, large.raw(), large.bytes()); };
    stream.run(zero);  // pages that nobody has touched yet take longer
    stream.set_meter(&meter);
    Moment begun, ended;
    begun.record(stream);
    stream.run({"zero", 0.0, 0.0}, zero);
    stream.run(zero);
    stream.run({"nothing", 0.0, 0.0}, [](auto&) {});
    stream.run(zero);
    ended.record(stream);
    const std::vector<WorkMeter::Entry> entries = meter.take(stream);
    double sum = 0.0;
    for (const WorkMeter::Entry& entry : entries) sum += entry.seconds;
    EXPECT_GT(entries.at(0).seconds, 0.0);
    // the spans lie apart, within the whole; a GPU's clock tells half a microsecond
    EXPECT_LE(sum, ended.seconds_since(begun) + 1e-6);
}

TEST(WorkMeter, WaitsForNothingBeforeItIsAsked) {
    Stream stream(test_gpu(), 1);
    if (!is_shim(stream)) GTEST_SKIP() << "only the shim's GPU stands still until somebody waits";
    WorkMeter meter;
    stream.set_meter(&meter);
    const Tensor zeros = Tensor::empty(stream, DType::f32, {1});
    const BlockRef block = stream.host_pool().allocate(sizeof(float));
    auto* host = reinterpret_cast<float*>(block.get()->data);
    *host = 1.0f;
    stream.run({"zero", 4.0, 0.0}, [&](auto& s) { zero_memory(s, zeros.raw(), zeros.bytes()); });
    stream.run({"download", 4.0, 0.0},
               [&](auto& s) { start_download(s, zeros.raw(), block.get()->data, zeros.bytes()); });
    EXPECT_EQ(*host, 1.0f) << "queued, not run";
    EXPECT_EQ(meter.take(stream).size(), 2u);
    EXPECT_EQ(*host, 0.0f);
}

}  // namespace
}  // namespace skein::test
