// Ranks that wait for one which does not come, or which is in another collective.

#include <gtest/gtest.h>
#include <mpi.h>

#include <array>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "model/base/error.h"
#include "parallel/mpi_communicator.h"
#include "parallel/process_grid.h"
#include "parallel/rank_reports.h"

namespace skein {
namespace {

class MissingRankTest : public testing::Test {
  protected:
    MissingRankTest() {
        session_.patience().seconds = 0.3;
        session_.patience().set_phase("step", 12);
    }
    /// All ranks meet again, in a call of MPI's that answers nobody.
    static void meet() { MPI_Barrier(MPI_COMM_WORLD); }

    MpiSession session_;
    MpiCommunicator home_{session_};
    std::unique_ptr<Communicator> group_ = home_.duplicate();  // what goes wrong goes wrong in it
    int rank_ = session_.rank(), size_ = session_.size(), last_ = size_ - 1;
};

/// The line of the PeerError that `part` ends in; empty: none.
template <class Part>
std::string line_of(const Part& part) {
    try {
        part();
    } catch (const PeerError& error) {
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
        return error.what();
    }
    return {};
}

void expect_match(const std::string& line, const std::string& pattern) {
    EXPECT_TRUE(std::regex_match(line, std::regex(pattern))) << line << "\nis not\n" << pattern;
}

const std::string kHere = "tests/parallel/missing_rank_test\\.cpp:[0-9]+";

TEST_F(MissingRankTest, IsNamedByAllOthersWithTheCollectiveItsPlaceAndTheStep) {
    const std::string line = line_of([&] {
        group_->all_reduce_value(1.0);  // everybody's first call
        if (rank_ != last_) group_->all_gather_text("here");
    });
    meet();
    if (rank_ == last_) {
        EXPECT_EQ(line, "");
        return;
    }
    expect_match(line, "all-gather of texts at " + kHere + " \\(call 2, step 12\\): " +
                           text("rank ", last_, " on host .* did not come within 0.3 s"));
}

TEST_F(MissingRankTest, IsNamedThoughOthersWaitForOneThatWaits) {
    // In a barrier each rank waits for one other at a time. Where there are four, rank 0 hears from 3 and 2.
    const std::string line = line_of([&] {
        if (rank_ != last_) group_->barrier();
    });
    meet();
    if (rank_ == last_) return;
    EXPECT_TRUE(line.starts_with("barrier at ")) << line;
    EXPECT_NE(line.find(text("): rank ", last_, " on host ")), std::string::npos) << line;
}

TEST_F(MissingRankTest, AreAllNamedWhereTheyWaitForEachOther) {
    const std::unique_ptr<Communicator> other = home_.duplicate();
    const std::string line = line_of([&] { (rank_ == 0 ? *group_ : *other).all_reduce_value(1.0); });
    meet();
    const std::string waits = rank_ == 0 ? "rank 1 on host .* waits in all-reduce at "
                                         : "rank 0 on host .* waits in all-reduce at ";
    if (size_ > 2 && rank_ > 1) return;
    expect_match(line, "all-reduce at " + kHere +
                           " \\(call 1, step 12\\): rank [0-9] on host .* did not come within 0.3 s; .*" +
                           waits + kHere + ".*");
}

TEST_F(MissingRankTest, ThatDoesNotTakeALongMessageIsNamed) {
    std::vector<std::byte> bytes(1 << 22);  // goes when its receiver takes it
    const std::string line = line_of([&] {
        if (rank_ == last_) return;
        const Outgoing message{last_, bytes};
        group_->start_exchange({&message, 1}, {}).wait();
    });
    if (rank_ != last_) {
        expect_match(line, "exchange at " + kHere + " \\(call 1, step 12\\): " +
                               text("rank ", last_, " on host .* did not come within 0.3 s"));
    }
    meet();
}

TEST_F(MissingRankTest, IsMissedByDuplicatesAndSplitsAsWell) {
    ProcessGrid grid(session_, size_ / 2 > 0 && size_ % 2 == 0 ? size_ / 2 : 1);
    const std::unique_ptr<Communicator> copy = grid.data().duplicate();
    const bool absent = copy->rank() == copy->size() - 1;
    const std::string line = line_of([&] {
        if (!absent) copy->barrier();
    });
    meet();
    if (absent) return;
    // the group's last rank, by its number in the session
    const int missing = rank_ % grid.tensor().size() + (copy->size() - 1) * grid.tensor().size();
    EXPECT_NE(line.find(text("rank ", missing, " on host ")), std::string::npos) << line;
    EXPECT_NE(line.find("did not come within 0.3 s"), std::string::npos) << line;
}

TEST_F(MissingRankTest, OfTheLibrarysOwnAllReduceIsWhoDoesNotAnswer) {
    std::vector<float> values(1 << 20, 1.0f);
    const std::string line = line_of([&] {
        if (rank_ != last_) group_->start_fast_all_reduce(values).wait();
    });
    meet();
    if (rank_ == last_) return;
    expect_match(line, "all-reduce at " + kHere + " \\(call 1, step 12\\): " +
                           text("rank ", last_, " on host .* did not come within 0.3 s") +
                           "; MPI's own all-reduce does not say more.*");
}

TEST_F(MissingRankTest, MaySaveForAsLongAsItTakes) {
    session_.patience().seconds = 0.001;
    const Patience::Exemption saving(session_.patience());
    if (rank_ == last_) {  // writes for far longer than that
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
        while (std::chrono::steady_clock::now() < end) {
        }
    }
    EXPECT_EQ(group_->all_reduce_value(std::int64_t{1}), size_);
}

TEST_F(MissingRankTest, IsRemarkedOnByARankThatWasAskedToEndAndTheWaitGoesOn) {
    session_.patience().seconds = 3600.0;
    session_.patience().asked_to_end = [] { return true; };
    std::vector<std::string> remarks;
    if (rank_ == 0)
        session_.patience().remark = [&](const std::string& line) {
            remarks.push_back(line);
            MPI_Send(nullptr, 0, MPI_BYTE, last_, 0, MPI_COMM_WORLD);
        };
    if (rank_ == last_) MPI_Recv(nullptr, 0, MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    EXPECT_EQ(group_->all_reduce_value(std::int64_t{1}), size_);
    meet();
    if (rank_ != 0) return;
    ASSERT_EQ(remarks.size(), 1u);
    expect_match(remarks[0], text("rank 0 on .*: asked to end while waiting for rank ", last_,
                                  " on host .*: all-reduce at ") +
                                 kHere + " \\(call 1, step 12\\)");
}

TEST_F(MissingRankTest, IsWhoDoesNotAnswerASurvey) {
    if (rank_ != last_) {
        const std::vector<RankReport> waiting =
            session_.reports().survey({rank_, {last_}, text("at ", rank_)}, 1.0);
        ASSERT_EQ(std::ssize(waiting), last_);
        for (int r = 0; r < last_; ++r) {
            EXPECT_EQ(waiting[static_cast<std::size_t>(r)].rank, r);
            EXPECT_EQ(waiting[static_cast<std::size_t>(r)].where, text("at ", r));
            EXPECT_EQ(waiting[static_cast<std::size_t>(r)].missing, std::vector<int>{last_});
        }
    }
    meet();
}

TEST_F(MissingRankTest, IsNoMatterWhereOneRankSaysWhyItEndsAll) {
    if (rank_ == last_) session_.reports().announce_end();
    meet();
    if (rank_ != last_) {
        EXPECT_TRUE(session_.reports().survey({rank_, {last_}, "here"}, 60.0).empty());
    }
    meet();
}

TEST_F(MissingRankTest, OneRankSpeaksForAll) {
    int speaker = -1;
    try {
        if (rank_ != last_) group_->all_gather_text("here");
    } catch (const PeerError& error) {
        speaker = error.speaker();
    }
    meet();
    std::vector<int> speakers(static_cast<std::size_t>(size_));
    std::vector<std::span<std::byte>> receive;
    for (int& one : speakers) receive.push_back(std::as_writable_bytes(std::span(&one, 1)));
    session_.patience().seconds = 60.0;
    home_.all_gather(std::as_bytes(std::span(&speaker, 1)), receive);
    // The lowest, unless another had asked before it was about to; but in any case one, and the same for all.
    const int one = speakers[0];
    EXPECT_GE(one, 0);
    EXPECT_LT(one, last_);
    EXPECT_EQ(speakers[static_cast<std::size_t>(one)], one);
    for (int r = 0; r < last_; ++r) EXPECT_EQ(speakers[static_cast<std::size_t>(r)], one) << r;
}

TEST_F(MissingRankTest, RanksInDifferentCollectivesAreToldAtOnce) {
    session_.patience().seconds = 3600.0;  // which would be a hang
    const auto odd_one_out = [&] { group_->all_reduce_value(1.0); };
    const auto others = [&] { group_->all_gather_text("here"); };
    std::vector<std::string> lines;
    const std::string line = line_of([&] {
        group_->barrier();
        if (rank_ == last_)
            odd_one_out();
        else
            others();
    });
    meet();
    ASSERT_NE(line, "") << "rank " << rank_;
    const std::string mine = rank_ == last_ ? "all-reduce at " : "all-gather of texts at ";
    const std::string theirs = rank_ == last_ ? "all-gather of texts at " : "all-reduce at ";
    // Others than the odd one out have no message from it alone; where all wait it may be named by its
    // answer.
    expect_match(
        line, mine + kHere + " \\(call [0-9]+, step 12\\): rank [0-9]+ on host .*" + theirs + kHere + ".*");
}

TEST_F(MissingRankTest, ARankOfAnotherPlaceThatHasGoneOnIsToldByWhatItSent) {
    session_.patience().seconds = 3600.0;
    const std::byte byte{};
    std::byte received{};
    // Rank 0 sends and goes on; rank 1 was to get a message in a call of its own.
    std::string line;
    if (rank_ == 0) {
        const Outgoing message{1, {&byte, 1}};
        group_->start_exchange({&message, 1}, {}).wait();
    } else if (rank_ == 1) {
        const Incoming message{0, {&received, 1}};
        line = line_of([&] { group_->start_exchange({}, {&message, 1}).wait(); });
    }
    meet();
    if (rank_ != 1) return;
    expect_match(line, "exchange at " + kHere +
                           " \\(call 1, step 12\\): rank 0 on host .* is in a collective that this rank has "
                           "not met \\([0-9]+\\) in call 1: the ranks are in different collectives");
}

TEST_F(MissingRankTest, MoreMessagesThanExpectedAreToldAtOnce) {
    session_.patience().seconds = 3600.0;
    const std::byte byte{};
    std::array<std::byte, 2> received{};
    std::vector<Outgoing> send;
    std::vector<Incoming> receive;
    if (rank_ == 0) send = {{1, {&byte, 1}}, {1, {&byte, 1}}};
    if (rank_ == 1) receive = {{0, {received.data(), 1}}};
    const std::string line = line_of([&] {
        group_->start_exchange(send, receive).wait();
        // what rank 0 sent too much stays behind, and is found by the next wait for it
        if (rank_ == 1) {
            const Incoming next{0, {&received[1], 1}};
            group_->start_exchange({}, {&next, 1}).wait();
        }
    });
    meet();
    if (rank_ != 1) return;
    expect_match(line, "exchange at " + kHere +
                           " \\(call 2, step 12\\): rank 0 on host .* is in exchange at " + kHere +
                           " in call 1: the ranks are in different collectives");
}

TEST_F(MissingRankTest, APeerThatIsAheadIsNoError) {
    // Rank 0 starts many calls at once and waits for the last first; the others take them one by one.
    constexpr int kCalls = 40;
    session_.patience().seconds = 60.0;
    std::vector<std::vector<std::byte>> bytes(
        kCalls, std::vector<std::byte>(static_cast<std::size_t>(size_) * 20000));
    std::vector<Pending> pending;
    const auto start = [&](int call) {
        std::vector<std::span<std::byte>> parts;
        for (int r = 0; r < size_; ++r)
            parts.push_back(std::span(bytes[static_cast<std::size_t>(call)])
                                .subspan(static_cast<std::size_t>(r) * 20000, call % 2 ? 20000 : 20));
        return group_->start_all_gather(parts[static_cast<std::size_t>(rank_)], parts);
    };
    if (rank_ == 0) {
        for (int call = 0; call < kCalls; ++call) pending.push_back(start(call));
        for (int call = kCalls; call-- > 0;) pending[static_cast<std::size_t>(call)].wait();
    } else {
        for (int call = 0; call < kCalls; ++call) start(call).wait();
    }
    meet();
}

TEST_F(MissingRankTest, OneWhoseQuestionWasAnsweredIsTheOneWhoSpeaks) {
    RankReports reports;
    const RankReport mine{rank_, {}, "here"};
    const std::array<int, 1> first{0}, last{last_};
    if (rank_ == last_) {
        EXPECT_EQ(reports.ask(mine, first, 60.0).speaker, last_);
    } else if (rank_ == 0) {
        bool asked = false;
        const auto answer = [&] {
            asked = true;
            return mine;
        };
        while (!asked) reports.answer(answer);
        // the other one may have said its line by now
        EXPECT_EQ(reports.ask(mine, last, 60.0).speaker, last_);
    }
    meet();
}

}  // namespace
}  // namespace skein
