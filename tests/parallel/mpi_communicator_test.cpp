#include "parallel/mpi_communicator.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "model/base/error.h"
#include "model/base/philox.h"

namespace skein {
namespace {

class MpiCommunicatorTest : public testing::Test {
  protected:
    MpiSession session_;
    MpiCommunicator world_{session_};
    int rank_ = world_.rank(), size_ = world_.size();
    std::size_t ranks_ = static_cast<std::size_t>(size_);
};

// Value i of what rank `from` gives to rank `to` in call `call`.
std::int32_t value(int call, int from, int to, std::size_t i) {
    return static_cast<std::int32_t>(call * 1000003 + from * 10007 + to * 101) + static_cast<std::int32_t>(i);
}

struct Messages {
    std::vector<std::vector<std::int32_t>> send, receive;
    std::vector<std::span<const std::byte>> outgoing;
    std::vector<std::span<std::byte>> incoming;
};

// What rank `from` sends to rank `to` has length(from, to) values.
template <class Length>
Messages all_to_all_messages(int call, int rank, int size, const Length& length) {
    Messages messages;
    for (int peer = 0; peer < size; ++peer) {
        auto& send = messages.send.emplace_back(length(rank, peer));
        for (std::size_t i = 0; i < send.size(); ++i) send[i] = value(call, rank, peer, i);
        messages.receive.emplace_back(length(peer, rank), -1);
    }
    for (auto& send : messages.send) messages.outgoing.push_back(std::as_bytes(std::span(send)));
    for (auto& receive : messages.receive)
        messages.incoming.push_back(std::as_writable_bytes(std::span(receive)));
    return messages;
}

void expect_received(const Messages& messages, int call, int rank) {
    for (std::size_t from = 0; from < messages.receive.size(); ++from)
        for (std::size_t i = 0; i < messages.receive[from].size(); ++i)
            ASSERT_EQ(messages.receive[from][i], value(call, static_cast<int>(from), rank, i))
                << from << " " << i;
}

TEST_F(MpiCommunicatorTest, AllToAllDeliversMessagesOfAnyLength) {
    // Lengths 0 to about 100,000 values, so that eager and rendezvous messages both occur.
    for (const std::size_t scale : {0u, 1u, 7u, 12345u}) {
        const auto length = [&](int from, int to) {
            return scale * static_cast<std::size_t>((from + 2 * to) % 4);
        };
        Messages messages = all_to_all_messages(1, rank_, size_, length);
        world_.all_to_all(messages.outgoing, messages.incoming);
        expect_received(messages, 1, rank_);
    }
}

TEST_F(MpiCommunicatorTest, LongMessagesTravelInParts) {
    MpiCommunicator narrow(session_, 1000);
    const auto length = [](int from, int to) { return static_cast<std::size_t>(1250 + from + 3 * to); };
    Messages messages = all_to_all_messages(2, rank_, size_, length);
    narrow.all_to_all(messages.outgoing, messages.incoming);
    expect_received(messages, 2, rank_);
}

TEST_F(MpiCommunicatorTest, AllGatherBringsEveryRanksPart) {
    for (const std::size_t scale : {0u, 1u, 5000u}) {
        std::vector<std::vector<std::int32_t>> parts;
        std::vector<std::span<std::byte>> receive;
        for (std::size_t r = 0; r < ranks_; ++r) parts.emplace_back(scale * (r % 3), -1);
        for (auto& part : parts) receive.push_back(std::as_writable_bytes(std::span(part)));
        auto& own = parts[static_cast<std::size_t>(rank_)];  // sent from where it is received
        for (std::size_t i = 0; i < own.size(); ++i) own[i] = value(3, rank_, 0, i);
        world_.all_gather(std::as_bytes(std::span(own)), receive);
        for (int from = 0; from < size_; ++from)
            for (std::size_t i = 0; i < parts[static_cast<std::size_t>(from)].size(); ++i)
                ASSERT_EQ(parts[static_cast<std::size_t>(from)][i], value(3, from, 0, i));
    }
}

TEST_F(MpiCommunicatorTest, CallsInFlightMayFinishInAnyOrder) {
    constexpr int kCalls = 12;
    const auto length = [](int call) {
        return [call](int from, int to) { return static_cast<std::size_t>((call % 3) * 20000 + from + to); };
    };
    std::vector<Messages> messages;
    std::vector<Pending> pending;
    for (int call = 0; call < kCalls; ++call) {
        messages.push_back(all_to_all_messages(call, rank_, size_, length(call)));
        pending.push_back(world_.start_all_to_all(messages.back().outgoing, messages.back().incoming));
    }
    // Even ranks wait for the last call first, odd ones for the first, with a call in between that starts
    // later.
    for (int i = 0; i < kCalls; ++i) {
        const int call = rank_ % 2 == 0 ? kCalls - 1 - i : i;
        pending[static_cast<std::size_t>(call)].wait();
        expect_received(messages[static_cast<std::size_t>(call)], call, rank_);
        if (i == kCalls / 2) {
            EXPECT_EQ(world_.all_reduce_value<std::int64_t>(1), size_);
        }
    }
}

TEST_F(MpiCommunicatorTest, SeveralMessagesToOnePeerKeepTheirOrder) {
    if (size_ == 1) return;
    const int next = (rank_ + 1) % size_, previous = (rank_ + size_ - 1) % size_;
    std::vector<std::int32_t> sent{1, 2, 3}, received(3);
    std::vector<Outgoing> send;
    std::vector<Incoming> receive;
    for (std::size_t i = 0; i < 3; ++i) {
        sent[i] += 10 * rank_;
        send.push_back({next, std::as_bytes(std::span(sent).subspan(i, 1))});
        receive.push_back({previous, std::as_writable_bytes(std::span(received).subspan(i, 1))});
    }
    world_.start_exchange(send, receive).wait();
    EXPECT_EQ(received, (std::vector<std::int32_t>{10 * previous + 1, 10 * previous + 2, 10 * previous + 3}));
}

float noise(int rank, std::size_t i) {
    const PhiloxBlock block = philox_at(i, {static_cast<std::uint32_t>(rank), 99});
    return static_cast<float>((uniform(block[0]) - 0.5) * static_cast<double>(1u << block[1] % 24));
}

TEST_F(MpiCommunicatorTest, AllReduceAddsInTheOrderOfRanks) {
    for (const std::size_t n : {0u, 1u, 2u, 1000u, 10007u}) {  // the last goes in slices
        std::vector<float> values(n), wanted(n);
        for (std::size_t i = 0; i < n; ++i) {
            values[i] = noise(rank_, i);
            wanted[i] = noise(0, i);
            for (int r = 1; r < size_; ++r) wanted[i] += noise(r, i);
        }
        world_.all_reduce(std::span<float>(values));
        EXPECT_TRUE(n == 0 || std::memcmp(values.data(), wanted.data(), n * sizeof(float)) == 0) << n;
    }
}

TEST_F(MpiCommunicatorTest, AllReduceHandlesItsTypesAndReductions) {
    std::vector<double> doubles{rank_ + 0.5, -1.0 * rank_};
    world_.all_reduce(std::span<double>(doubles));
    EXPECT_EQ(doubles[0], size_ * (size_ - 1) / 2 + 0.5 * size_);
    EXPECT_EQ(doubles[1], -size_ * (size_ - 1) / 2);
    EXPECT_EQ(world_.all_reduce_value<std::int64_t>(rank_ == 0 ? 1 : 0, Reduction::kMax), 1);
    EXPECT_EQ(world_.all_reduce_value<std::int64_t>(rank_ + 5, Reduction::kMin), 5);
    EXPECT_EQ(world_.all_reduce_value<std::int64_t>(std::int64_t{1} << 40), (std::int64_t{1} << 40) * size_);
}

TEST_F(MpiCommunicatorTest, ReduceScatterGivesEachRankItsSlice) {
    for (const std::int64_t n : {0, 1, 3, 1001}) {
        std::vector<double> values(static_cast<std::size_t>(n));
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i) + 1000.0 * rank_;
        const std::int64_t begin = slice_begin(n, size_, rank_), end = slice_begin(n, size_, rank_ + 1);
        std::vector<double> slice(static_cast<std::size_t>(end - begin));
        world_.reduce_scatter(std::span<const double>(values), std::span<double>(slice));
        for (std::size_t i = 0; i < slice.size(); ++i)
            ASSERT_EQ(slice[i], static_cast<double>(begin) * size_ + static_cast<double>(i) * size_ +
                                    1000.0 * size_ * (size_ - 1) / 2);
    }
}

TEST_F(MpiCommunicatorTest, BroadcastComesFromAnyRoot) {
    for (int root = 0; root < size_; ++root)
        for (const std::size_t n : {0u, 1u, 1000u, 200001u}) {  // the last goes in slices
            std::vector<std::int32_t> values(n, -1);
            if (rank_ == root)
                for (std::size_t i = 0; i < n; ++i) values[i] = value(4, root, 0, i);
            world_.broadcast(std::as_writable_bytes(std::span(values)), root);
            for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(values[i], value(4, root, 0, i));
        }
}

TEST_F(MpiCommunicatorTest, TextsOfAnyLengthTravel) {
    const std::vector<std::string> all =
        world_.all_gather_text(std::string(static_cast<std::size_t>(rank_), 'x'));
    for (std::size_t r = 0; r < ranks_; ++r) EXPECT_EQ(all[r], std::string(r, 'x'));
    EXPECT_EQ(world_.broadcast_text(text("from ", rank_), size_ - 1), text("from ", size_ - 1));
}

TEST_F(MpiCommunicatorTest, NobodyLeavesABarrierBeforeAllHaveComeToIt) {
    std::string folder = (std::filesystem::temp_directory_path() / "skein-barrier-XXXXXX").string();
    if (rank_ == 0) {
        ASSERT_NE(mkdtemp(folder.data()), nullptr);
    }
    folder = world_.broadcast_text(folder, 0);
    for (int round = 0; round < 20; ++round) {
        std::ofstream(text(folder, "/", round, ".", rank_)).put('x');  // I have come
        world_.barrier();
        for (int r = 0; r < size_; ++r)
            EXPECT_TRUE(std::filesystem::exists(text(folder, "/", round, ".", r)));
    }
    world_.barrier();
    if (rank_ == 0) std::filesystem::remove_all(folder);
}

TEST_F(MpiCommunicatorTest, ADuplicateHasAnOrderOfCallsOfItsOwn) {
    std::unique_ptr<Communicator> other = world_.duplicate();
    std::int64_t mine = 10 + rank_, theirs = 20 + rank_;
    const auto gather = [&](Communicator& communicator, std::int64_t& own, std::vector<std::int64_t>& all) {
        std::vector<std::span<std::byte>> receive;
        for (std::int64_t& one : all) receive.push_back(std::as_writable_bytes(std::span(&one, 1)));
        return communicator.start_all_gather(std::as_bytes(std::span(&own, 1)), receive);
    };
    std::vector<std::int64_t> ours(ranks_), others(ranks_);
    std::vector<Pending> pending(2);
    if (rank_ % 2 == 0) {
        pending[0] = gather(world_, mine, ours);
        pending[1] = gather(*other, theirs, others);
    } else {
        pending[0] = gather(*other, theirs, others);
        pending[1] = gather(world_, mine, ours);
    }
    for (Pending& one : pending) one.wait();
    for (std::size_t r = 0; r < ranks_; ++r) {
        EXPECT_EQ(ours[r], 10 + static_cast<std::int64_t>(r));
        EXPECT_EQ(others[r], 20 + static_cast<std::int64_t>(r));
    }
}

TEST_F(MpiCommunicatorTest, FastAllReduceAddsUpWhatIsExactInAnyOrder) {
    std::vector<float> values(5000);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>(i % 100) + static_cast<float>(rank_);
    world_.start_fast_all_reduce(values).wait();
    for (std::size_t i = 0; i < values.size(); ++i)
        ASSERT_EQ(values[i], static_cast<float>(size_) * static_cast<float>(i % 100) +
                                 static_cast<float>(size_ * (size_ - 1) / 2));
}

TEST_F(MpiCommunicatorTest, AMessageToOneselfIsRefused) {
    std::byte byte{};
    const Outgoing message{rank_, {&byte, 1}};
    EXPECT_THROW(world_.start_exchange({&message, 1}, {}), MpiError);
}

TEST_F(MpiCommunicatorTest, AMessageOfAnotherLengthThanWantedIsAnErrorThatNamesThePeer) {
    if (size_ == 1) return;
    std::unique_ptr<Communicator> spoiled = world_.duplicate();
    for (const std::size_t sent : {std::size_t{4}, std::size_t{12}}) {  // wanted are 8
        std::vector<std::byte> bytes(12);
        std::vector<Outgoing> send;
        std::vector<Incoming> receive;
        if (rank_ == 1) send.push_back({0, std::span(bytes).first(sent)});
        if (rank_ == 0) receive.push_back({1, std::span(bytes).first(8)});
        std::string line = "a message of another length was taken for the one wanted";
        try {
            spoiled->start_exchange(send, receive).wait();
            if (rank_ != 0) line.clear();
        } catch (const MpiError& error) {
            line = error.what();
        }
        if (rank_ != 0) {
            EXPECT_EQ(line, "");
            continue;
        }
        EXPECT_TRUE(line.starts_with("exchange at tests/parallel/mpi_communicator_test.cpp:")) << line;
        EXPECT_NE(line.find("start): rank 1 on host "), std::string::npos) << line;
        EXPECT_NE(line.find(sent == 4 ? " sent 4 bytes, wanted 8" : " sent more than the 8 bytes wanted"),
                  std::string::npos)
            << line;
    }
}

}  // namespace
}  // namespace skein
