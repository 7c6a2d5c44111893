#include "parallel/nccl_communicator.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "model/base/error.h"
#include "model/kernels/elementwise.h"
#include "model/tensor/tensor.h"
#include "parallel/gradient_transport.h"
#include "tests/parallel/gradient_route.h"

namespace skein {
namespace {

using Values = std::vector<float>;

// A machine without a GPU or without NCCL runs none of these; the shim's program runs them all.
class NcclTest : public testing::Test {
  protected:
    void SetUp() override {
        if (find_gpus().count == 0) GTEST_SKIP() << find_gpus().missing;
        if (!find_nccl().missing.empty()) GTEST_SKIP() << find_nccl().missing;
        stream_ = std::make_unique<Stream>(Gpu{0}, 1);
    }

    std::unique_ptr<Communicator> make(const NcclOptions& options = {}) {
        return make_nccl(GradientRoute::kNccl, session_, data_, *stream_, options);
    }
    Tensor upload(const Values& values) {
        return Tensor::from(*stream_, {static_cast<std::int64_t>(values.size())}, std::span(values));
    }
    Tensor empty(std::size_t count) {
        return Tensor::empty(*stream_, DType::f32, {static_cast<std::int64_t>(count)});
    }
    Values download(const Tensor& tensor) {
        const Tensor here = on_host(*stream_, tensor);
        return {here.span<float>().begin(), here.span<float>().end()};
    }
    static std::span<std::byte> bytes(const Tensor& tensor) { return {tensor.raw(), tensor.bytes()}; }

    // What `from` sends to `to`: of a length of its own, possibly none.
    static Values message(int from, int to) {
        Values values(static_cast<std::size_t>((5 * from + 3 * to) % 7 * 100));
        std::iota(values.begin(), values.end(), static_cast<float>(1000 * from + 100 * to));
        return values;
    }

    struct Exchange {
        std::vector<Tensor> sent, received;
        Pending pending;
    };
    // Every rank sends every other one a message, from memory that is written just before.
    Exchange start_exchange(Communicator& communicator) {
        Exchange exchange;
        std::vector<Outgoing> send;
        std::vector<Incoming> receive;
        for (int peer = 0; peer < data_.size(); ++peer) {
            if (peer == data_.rank()) continue;
            exchange.sent.push_back(upload(message(data_.rank(), peer)));
            exchange.received.push_back(empty(message(peer, data_.rank()).size()));
            send.push_back({peer, bytes(exchange.sent.back())});
            receive.push_back({peer, bytes(exchange.received.back())});
        }
        exchange.pending = communicator.start_exchange(send, receive);
        return exchange;
    }
    void expect_right(const Exchange& exchange) {
        std::size_t at = 0;
        for (int peer = 0; peer < data_.size(); ++peer) {
            if (peer == data_.rank()) continue;
            EXPECT_EQ(download(exchange.received[at++]), message(peer, data_.rank())) << "from " << peer;
        }
    }

    MpiSession session_;
    MpiCommunicator data_{session_};
    std::unique_ptr<Stream> stream_;
};

TEST_F(NcclTest, AnExchangeIsQueuedBehindTheStreamAndTheStreamBehindIt) {
    const auto nccl = make();
    EXPECT_EQ(nccl->rank(), data_.rank());
    EXPECT_EQ(nccl->size(), data_.size());
    std::vector<Exchange> all;
    for (int i = 0; i < 3; ++i) all.push_back(start_exchange(*nccl));
    all.back().pending.wait();  // on the stream; those before it are over by then
    for (const Exchange& exchange : all) expect_right(exchange);
}

TEST_F(NcclTest, PollTellsWhenItIsOver) {
    const auto nccl = make();
    Exchange exchange = start_exchange(*nccl);
    exchange.pending.wait_on_host();
    expect_right(exchange);
}

TEST_F(NcclTest, AllGatherCopiesARanksOwnPart) {
    const auto nccl = make();
    const Tensor mine = upload(message(data_.rank(), 1));
    std::vector<Tensor> received;
    std::vector<std::span<std::byte>> receive;
    for (int rank = 0; rank < data_.size(); ++rank) {
        received.push_back(empty(message(rank, 1).size()));
        receive.push_back(bytes(received.back()));
    }
    nccl->all_gather(bytes(mine), receive);
    for (int rank = 0; rank < data_.size(); ++rank)
        EXPECT_EQ(download(received[static_cast<std::size_t>(rank)]), message(rank, 1));
}

TEST_F(NcclTest, TheFastReductionSumsOverRanks) {
    const auto nccl = make();
    const Tensor values = upload(Values(1000, static_cast<float>(1 << data_.rank())));
    nccl->start_fast_all_reduce({values.data<float>(), 1000}).wait();
    EXPECT_EQ(download(values), Values(1000, static_cast<float>((1 << data_.size()) - 1)));
}

TEST_F(NcclTest, ADuplicateIsOfTheSameRanks) {
    const auto nccl = make();
    const auto copy = nccl->duplicate();
    Exchange exchange = start_exchange(*copy);
    exchange.pending.wait();
    expect_right(exchange);
}

TEST_F(NcclTest, WhatOnlyTheHostCanDoIsRefused) {
    const auto nccl = make();
    EXPECT_THROW(nccl->barrier(), Error);
    EXPECT_THROW(nccl->all_reduce_value(1.0), Error);
    EXPECT_THROW(nccl->all_gather_text("a"), Error);
}

TEST_F(NcclTest, ARankThatDoesNotComeIsNamed) {
    if (data_.size() == 1) GTEST_SKIP() << "there are no others";
    const int stuck = data_.size() - 1;
    const std::string line = message_of([&] {
        const auto nccl = make({.timeout_seconds = short_timeout()});
        if (data_.rank() != stuck) {
            Exchange exchange = start_exchange(*nccl);
            exchange.pending.wait_on_host();
        }
        throw Error("not waited for");
    });
    data_.barrier();
    if (data_.rank() == stuck) {
        EXPECT_EQ(line, "not waited for");
        return;
    }
    // Others that wait may be behind as well, as short as the time is.
    const std::string begin = text("NCCL: exchange at tests/parallel/nccl_communicator_test.cpp:");
    const std::string middle = text(" (number 2, start) is not over after ", short_timeout(), " s on rank ",
                                    data_.rank(), ": rank ");
    const std::string end = text("rank ", stuck, " has started 1; aborted");
    EXPECT_TRUE(line.starts_with(begin) && line.find(middle) != std::string::npos && line.ends_with(end))
        << line;
}

TEST_F(NcclTest, AfterAnAbortNoStreamWaitsAndEveryCallFails) {
    if (data_.size() == 1) GTEST_SKIP() << "there are no others";
    const auto run = [&] {
        const auto nccl = make({.timeout_seconds = short_timeout()});
        if (data_.rank() == 0) {
            Exchange exchange;
            const auto wait = [&] {
                exchange = start_exchange(*nccl);
                exchange.pending.wait();
                exchange.pending.wait_on_host();
            };
            EXPECT_THROW(wait(), CudaError);
            stream_->synchronize();
            EXPECT_THROW(start_exchange(*nccl), CudaError);
            EXPECT_THROW(wait(), CudaError);
        }
        throw Error("the others leave as well");
    };
    EXPECT_THROW(run(), Error);
    data_.barrier();
}

TEST_F(NcclTest, AnErrorOfTheLibrarysSurfacesAtTheNextCall) {
    if (properties_of(Gpu{0}).name != "CUDA on the CPU") GTEST_SKIP() << "only the shim can be told to fail";
    const auto run = [&] {
        const auto nccl = make();
        Exchange exchange = start_exchange(*nccl);
        setenv("SKEIN_SHIM_NCCL_ERROR", "unhandled system error", 1);
        EXPECT_THROW(exchange.pending.poll(), CudaError);
        unsetenv("SKEIN_SHIM_NCCL_ERROR");
        start_exchange(*nccl);
    };
    try {
        run();
        ADD_FAILURE() << "the communicator is still of use";
    } catch (const CudaError& error) {
        EXPECT_STREQ(error.what(), "NCCL: the communicator was aborted");
    }
    data_.barrier();
}

TEST_F(NcclTest, RanksOnOneGpuUseItOnlyWithAHostIdEach) {
    if (find_gpus().count > 1 && data_.size() > 1) GTEST_SKIP() << "the ranks have a GPU each";
    unsetenv("NCCL_HOSTID");
    const TransportFacts without = gather_transport_facts(session_, data_, Gpu{0});
    EXPECT_EQ(without.ranks, data_.size());
    EXPECT_TRUE(without.on_gpus);
    EXPECT_EQ(without.shared, data_.size() > 1 ? "ranks 0 and 1" : "");
    EXPECT_EQ(without.host_ids_distinct, data_.size() == 1);
    setenv("NCCL_HOSTID", std::to_string(data_.rank()).c_str(), 1);
    EXPECT_TRUE(gather_transport_facts(session_, data_, Gpu{0}).host_ids_distinct);
    EXPECT_FALSE(gather_transport_facts(session_, data_, std::nullopt).on_gpus);
}

}  // namespace
}  // namespace skein
