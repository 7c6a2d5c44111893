#include "parallel/rank_reports.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <exception>
#include <limits>
#include <map>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>

#include "parallel/mpi_check.h"

namespace skein {
namespace {

constexpr const char* kOperation = "rank reports";
constexpr std::size_t kBytes = 1024;  // below every limit that MPI has for messages that leave at once
constexpr std::size_t kMostMissing = 64;
constexpr int kNobody = std::numeric_limits<int>::max();
enum Tag { kQuestion = 0, kAnswer = 1, kSurvey = 2, kReply = 3, kEnd = 4 };

std::string to_message(const RankReport& report) {
    std::string message = text(report.speaker, " ");
    for (std::size_t i = 0; i < std::min(report.missing.size(), kMostMissing); ++i)
        message += text(report.missing[i], " ");
    return (message + "\n" + report.where).substr(0, kBytes);
}

RankReport to_report(int rank, const std::string& message) {
    RankReport report;
    report.rank = rank;
    const std::size_t end = std::min(message.find('\n'), message.size());
    std::istringstream ranks(message.substr(0, end));
    ranks >> report.speaker;
    for (int missing; ranks >> missing;) report.missing.push_back(missing);
    if (end < message.size()) report.where = message.substr(end + 1);
    return report;
}

}  // namespace

struct RankReports::State {
    MPI_Comm ranks = MPI_COMM_NULL;
    int rank = 0, size = 1;
    std::map<int, RankReport> told;  // by the ranks that have asked or answered
    int speaker = kNobody;           // the lowest of those that askers would have speak
    struct Sent {
        std::array<char, kBytes> bytes;
        MPI_Request request = MPI_REQUEST_NULL;
    };
    std::deque<Sent> sent;

    void send(int peer, Tag tag, const std::string& message) {
        Sent& one = sent.emplace_back();
        std::memcpy(one.bytes.data(), message.data(), message.size());
        check_mpi(MPI_Isend(one.bytes.data(), static_cast<int>(message.size()), MPI_CHAR, peer, tag, ranks,
                            &one.request),
                  kOperation, peer);
    }

    // A message with that tag, if there is one.
    std::optional<RankReport> take(Tag tag) {
        int found = 0;
        MPI_Status status;
        check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, tag, ranks, &found, &status), kOperation);
        if (!found) return std::nullopt;
        std::array<char, kBytes> bytes;
        int length = 0;
        const int peer = status.MPI_SOURCE;
        check_mpi(MPI_Recv(bytes.data(), static_cast<int>(bytes.size()), MPI_CHAR, peer, tag, ranks, &status),
                  kOperation, peer);
        check_mpi(MPI_Get_count(&status, MPI_CHAR, &length), kOperation, peer);
        return to_report(peer, std::string(bytes.data(), static_cast<std::size_t>(length)));
    }
};

RankReports::RankReports() : state_(std::make_unique<State>()) {
    check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &state_->rank), kOperation);
    check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &state_->size), kOperation);
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &state_->ranks), kOperation);
    check_mpi(MPI_Comm_set_errhandler(state_->ranks, MPI_ERRORS_RETURN), kOperation);
}

RankReports::~RankReports() {
    int over = 0;
    MPI_Finalized(&over);
    bool all_left = !over;
    if (!over)
        for (State::Sent& one : state_->sent) {
            int left = 0;
            MPI_Test(&one.request, &left, MPI_STATUS_IGNORE);
            all_left = all_left && left;
        }
    if (!all_left && !state_->sent.empty())
        static_cast<void>(state_.release());  // a message may still leave from there
    else if (!over && std::uncaught_exceptions() == 0)
        MPI_Comm_free(&state_->ranks);
}

void RankReports::answer(const std::function<RankReport()>& mine) {
    while (std::optional<RankReport> asker = state_->take(kQuestion)) {
        state_->send(asker->rank, kAnswer, to_message(mine()));
        state_->speaker = std::min(state_->speaker, asker->speaker);
        state_->told[asker->rank] = *std::move(asker);
    }
    while (const std::optional<RankReport> asker = state_->take(kSurvey))
        state_->send(asker->rank, kReply, to_message(mine()));
}

RankReports::Answers RankReports::ask(RankReport mine, std::span<const int> wanted, double seconds) {
    // One that asked before, and has its answer, may be speaking already, and a higher rank at that.
    mine.speaker = state_->speaker = state_->speaker == kNobody ? state_->rank : state_->speaker;
    const std::string message = to_message(mine);
    for (int peer = 0; peer < state_->size; ++peer)
        if (peer != state_->rank) state_->send(peer, kQuestion, message);
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    const auto complete = [&] {
        return !wanted.empty() &&
               std::ranges::all_of(wanted, [&](int rank) { return state_->told.contains(rank); });
    };
    for (bool last = false; !last; std::this_thread::yield()) {
        last = complete() || std::chrono::steady_clock::now() >= end;
        answer([&] { return mine; });
        while (std::optional<RankReport> one = state_->take(kAnswer))
            state_->told[one->rank] = *std::move(one);
    }
    Answers answers;
    state_->told[state_->rank] = mine;
    for (const auto& [rank, report] : state_->told) answers.reports.push_back(report);
    answers.speaker = state_->speaker;
    return answers;
}

void RankReports::announce_end() {
    for (int peer = 0; peer < state_->size; ++peer)
        if (peer != state_->rank) state_->send(peer, kEnd, "");
}

std::vector<RankReport> RankReports::survey(const RankReport& mine, double seconds) {
    const std::string message = to_message(mine);
    for (int peer = 0; peer < state_->size; ++peer)
        if (peer != state_->rank) state_->send(peer, kSurvey, message);
    std::map<int, RankReport> replies{{state_->rank, mine}};
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    do {
        answer([&] { return mine; });
        while (std::optional<RankReport> one = state_->take(kReply)) replies[one->rank] = *std::move(one);
        if (state_->take(kEnd)) return {};
        std::this_thread::yield();
    } while (std::cmp_less(replies.size(), state_->size) && std::chrono::steady_clock::now() < end);
    std::vector<RankReport> out;
    for (auto& [rank, report] : replies) out.push_back(std::move(report));
    return out;
}

}  // namespace skein
