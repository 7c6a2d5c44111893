#include "parallel/mpi_communicator.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <numeric>
#include <utility>
#include <vector>

#include "model/base/error.h"
#include "model/base/handle.h"
#include "parallel/call_tags.h"
#include "parallel/mpi_check.h"

namespace skein {
namespace {

using Clock = std::chrono::steady_clock;

// The clock is read once in so many polls, each of which costs more than that.
constexpr int kPollsPerLook = 64;
// How often a rank that waits looks for what should not be there, and answers others.
constexpr std::chrono::milliseconds kBetweenChecks{100};
// How long others may take to tell for whom they wait; less where the patience is. More than the time between
// their checks.
constexpr double kLeastAnswerSeconds = 0.5, kMostAnswerSeconds = 1.0;
// The same for the rank that this one is at odds with, which is not waited for further.
constexpr double kOneAnswerSeconds = 0.5;
// The same for a rank that was asked to end: two checks of theirs.
constexpr double kSurveySeconds = 0.25;

struct CommunicatorTraits {
    using Value = MPI_Comm;
    static Value none() noexcept { return MPI_COMM_NULL; }
    static void release(Value value) noexcept {
        int over = 0;
        MPI_Finalized(&over);
        // Freeing is a collective. Ranks that an error drives out do not wait for the others.
        if (!over && std::uncaught_exceptions() == 0) MPI_Comm_free(&value);
    }
};
using CommunicatorHandle = Handle<CommunicatorTraits>;

CommunicatorHandle duplicate_of(MPI_Comm original) {
    MPI_Comm copy = MPI_COMM_NULL;
    check_mpi(MPI_Comm_dup(original, &copy), "communicator");
    return CommunicatorHandle(copy);
}

CallTags tags_of(MPI_Comm comm) {
    int* bound = nullptr;
    int found = 0;
    check_mpi(MPI_Comm_get_attr(comm, MPI_TAG_UB, static_cast<void*>(&bound), &found), "communicator");
    return CallTags(found ? static_cast<std::uint32_t>(*bound) : 32767);
}

// The group's ranks as ranks of the session.
std::vector<int> session_ranks(MPI_Comm comm, int size) {
    MPI_Group world = MPI_GROUP_NULL, group = MPI_GROUP_NULL;
    check_mpi(MPI_Comm_group(MPI_COMM_WORLD, &world), "communicator");
    check_mpi(MPI_Comm_group(comm, &group), "communicator");
    std::vector<int> own(static_cast<std::size_t>(size)), ranks(own.size());
    std::iota(own.begin(), own.end(), 0);
    check_mpi(MPI_Group_translate_ranks(group, size, own.data(), world, ranks.data()), "communicator");
    MPI_Group_free(&group);
    MPI_Group_free(&world);
    return ranks;
}

// For whom the ranks wait that do not wait themselves, as far as anybody knows.
std::vector<int> silent_ranks(const std::vector<RankReport>& waiting) {
    std::vector<int> silent;
    for (const RankReport& report : waiting)
        for (const int rank : report.missing)
            if (std::ranges::find(waiting, rank, &RankReport::rank) == waiting.end()) silent.push_back(rank);
    std::ranges::sort(silent);
    silent.erase(std::unique(silent.begin(), silent.end()), silent.end());
    return silent;
}

}  // namespace

// What a communicator and its operations share.
class MpiGroup {
  public:
    const MpiSession* session;
    CommunicatorHandle handle;
    std::size_t max_message_bytes;
    int rank = 0, size = 1;
    std::vector<int> ranks;  // of the session
    CallTags tags;
    CallPlaces places;
    std::uint64_t calls = 0;  // that were started

    MpiGroup(const MpiSession& its_session, CommunicatorHandle communicator, std::size_t max_message)
        : session(&its_session),
          handle(std::move(communicator)),
          max_message_bytes(max_message),
          tags(tags_of(handle.get())),
          places(tags.place_mask()) {
        check_mpi(MPI_Comm_set_errhandler(handle.get(), MPI_ERRORS_RETURN), "communicator");
        check_mpi(MPI_Comm_rank(handle.get(), &rank), "communicator");
        check_mpi(MPI_Comm_size(handle.get(), &size), "communicator");
        ranks = session_ranks(handle.get(), size);
    }

    // part(offset, bytes) for each piece of a message.
    template <class Part>
    void in_parts(std::size_t length, const Part& part) const {
        for (std::size_t at = 0; at < length; at += max_message_bytes)
            part(at, static_cast<int>(std::min(max_message_bytes, length - at)));
    }

    void check_peer(int peer, const CallSite& site) const {
        if (peer < 0 || peer >= size || peer == rank)
            throw MpiError(text(to_text(site), ": a message between rank ", rank, " and rank ", peer,
                                " in a group of ", size));
    }

    int world_rank(int peer) const { return ranks[static_cast<std::size_t>(peer)]; }

    // "rank 3 on host b" for ranks of the session.
    std::string name(int of_session) const {
        return text("rank ", of_session, " on host ", session->host_of(of_session));
    }
    std::string names(const std::vector<int>& of_session) const {
        constexpr std::size_t kMost = 8;
        std::string all;
        for (std::size_t i = 0; i < std::min(of_session.size(), kMost); ++i)
            all += text(i == 0 ? "" : " and ", name(of_session[i]));
        return of_session.size() <= kMost ? all : text(all, " and ", of_session.size() - kMost, " more");
    }
};

namespace {

// The requests of one call.
class MpiOperation final : public Pending::Operation {
  public:
    MpiOperation(std::shared_ptr<MpiGroup> group, const CallSite& site)
        : group_(std::move(group)), site_(site), call_(group_->calls++) {}

    ~MpiOperation() override {
        int over = 0;
        MPI_Finalized(&over);
        if (over) return;
        for (std::size_t i = 0; i < requests_.size(); ++i) {
            if (requests_[i] == MPI_REQUEST_NULL) continue;
            if (parts_[i].receive) MPI_Cancel(&requests_[i]);
            MPI_Request_free(&requests_[i]);
        }
    }

    std::uint64_t call() const { return call_; }

    // The request that the caller is about to start.
    MPI_Request* add(int peer, bool receive, int bytes) {
        parts_.push_back({peer, bytes, receive});
        requests_.push_back(MPI_REQUEST_NULL);
        return &requests_.back();
    }

    bool poll() override {
        if (requests_.empty()) return true;
        statuses_.resize(requests_.size());
        int done = 0;
        const int code =
            MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, statuses_.data());
        if (code == MPI_ERR_IN_STATUS)
            for (std::size_t i = 0; i < parts_.size(); ++i)
                if (statuses_[i].MPI_ERROR != MPI_ERR_PENDING) check_part(i, statuses_[i].MPI_ERROR);
        check_mpi(code, site_.name);
        if (done)
            for (std::size_t i = 0; i < parts_.size(); ++i) check_part(i, MPI_SUCCESS);
        else if (++polls_ % kPollsPerLook == 0)
            look();
        return done != 0;
    }

  private:
    static constexpr int kAll = -1;  // the peer of a collective of MPI's own
    struct Part {
        int peer, bytes;
        bool receive;
    };

    // "all-gather at trainer/training_step.cpp:141 (call 41, step 12)"
    std::string where() const {
        return text(to_text(site_), " (call ", call_ + 1, ", ", group_->session->patience().phase(), ")");
    }

    // Throws unless the part's message is there without an error and has its length.
    void check_part(std::size_t i, int error) {
        const Part& part = parts_[i];
        int kind = MPI_SUCCESS;
        MPI_Error_class(error, &kind);
        if (kind == MPI_ERR_TRUNCATE)
            fail(part.peer, text(" sent more than the ", part.bytes, " bytes wanted"));
        check_mpi(error, site_.name, part.peer);
        if (!part.receive) return;
        int bytes = 0;
        check_mpi(MPI_Get_count(&statuses_[i], MPI_BYTE, &bytes), site_.name, part.peer);
        if (bytes != part.bytes) fail(part.peer, text(" sent ", bytes, " bytes, wanted ", part.bytes));
    }

    // Of the group: those from which a message is still to come; where there are none, those that have yet to
    // take one. Throws for what has come and is wrong.
    std::vector<int> missing_peers() {
        std::vector<int> senders, takers;
        for (std::size_t i = 0; i < parts_.size(); ++i) {
            if (requests_[i] == MPI_REQUEST_NULL) continue;
            int done = 0;
            check_mpi(MPI_Request_get_status(requests_[i], &done, &statuses_[i]), site_.name);
            if (done) {
                if (parts_[i].receive) check_part(i, statuses_[i].MPI_ERROR);
                continue;
            }
            if (parts_[i].peer == kAll) {
                for (int peer = 0; peer < group_->size; ++peer)
                    if (peer != group_->rank) senders.push_back(peer);
                continue;
            }
            std::vector<int>& peers = parts_[i].receive ? senders : takers;
            if (peers.empty() || peers.back() != parts_[i].peer) peers.push_back(parts_[i].peer);
        }
        return senders.empty() ? takers : senders;
    }

    RankReport report() {
        std::vector<int> missing = missing_peers();
        for (int& peer : missing) peer = group_->world_rank(peer);
        return {group_->session->rank(), std::move(missing), where()};
    }

    void look() {
        const Clock::time_point now = Clock::now();
        const Patience& patience = group_->session->patience();
        clock_.look(now, patience);
        if (next_check_ == Clock::time_point{}) next_check_ = now + kBetweenChecks;
        if (now >= next_check_) {
            next_check_ = now + kBetweenChecks;
            group_->session->reports().answer([this] { return report(); });
            if (parts_.front().peer != kAll)
                for (const int peer : missing_peers()) check_for_strangers(peer);
        }
        if (clock_.is_over(patience)) fail_late();
        end_wait_.look(now, patience);
        if (end_wait_.is_over()) remark();
    }

    // Somebody ends this process, most likely as another one is gone: those that wait find out among
    // themselves for whom, and the first of them says so.
    void remark() {
        Patience& patience = group_->session->patience();
        if (!patience.remark) return;
        const auto say = std::exchange(patience.remark, nullptr);
        const RankReport mine = report();
        const std::vector<RankReport> waiting = group_->session->reports().survey(mine, kSurveySeconds);
        if (waiting.empty() || waiting.front().rank != mine.rank) return;
        const std::vector<int> culprits = silent_ranks(waiting);
        say(text("rank ", mine.rank, " on ", group_->session->host_of(mine.rank),
                 ": asked to end while waiting for ",
                 group_->names(culprits.empty() ? mine.missing : culprits), ": ", where()));
    }

    // See the header for why this is certain.
    void check_for_strangers(int peer) {
        int found = 0;
        MPI_Status status;
        check_mpi(MPI_Iprobe(peer, MPI_ANY_TAG, group_->handle.get(), &found, &status), site_.name, peer);
        if (!found) return;
        const std::optional<std::uint64_t> call = group_->tags.started_call(status.MPI_TAG, group_->calls);
        if (!call) return;
        const std::string place = group_->places.describe(group_->tags.place_of(status.MPI_TAG));
        if (*call == call_ && place == to_text(site_))
            fail(peer, " sent more messages than this rank expects");
        fail(peer,
             text(" is in ", place, " in call ", *call + 1, ": the ranks are in different collectives"));
    }

    [[noreturn]] void fail(int peer, const std::string& what) {
        const int culprit = group_->world_rank(peer);
        const RankReports::Answers answers = group_->session->reports().ask(
            {group_->session->rank(), {culprit}, where()}, {&culprit, 1}, kOneAnswerSeconds);
        std::string line = text(where(), ": ", group_->name(culprit), what);
        for (const RankReport& report : answers.reports)
            if (report.rank == culprit) line += text(" (it waits in ", report.where, ")");
        throw PeerError(line, answers.speaker);
    }

    [[noreturn]] void fail_late() {
        const RankReport mine = report();
        const double seconds = group_->session->patience().seconds;
        const RankReports::Answers answers = group_->session->reports().ask(
            mine, {}, std::clamp(seconds, kLeastAnswerSeconds, kMostAnswerSeconds));
        const std::vector<int> culprits = silent_ranks(answers.reports);
        // where all of them wait, they do for each other
        std::string line = text(where(), ": ", group_->names(culprits.empty() ? mine.missing : culprits),
                                " did not come within ", seconds, " s");
        if (parts_.front().peer == kAll) line += "; MPI's own all-reduce does not say more";
        for (const RankReport& report :
             answers.reports)  // whom this rank waits for, and why they do not come
            if (report.rank != mine.rank &&
                std::ranges::find(mine.missing, report.rank) != mine.missing.end())
                line += text("; ", group_->name(report.rank), " waits in ", report.where);
        throw PeerError(line, answers.speaker);
    }

    std::shared_ptr<MpiGroup> group_;
    CallSite site_;
    std::uint64_t call_;
    std::vector<MPI_Request> requests_;
    std::vector<Part> parts_;
    std::vector<MPI_Status> statuses_;
    std::uint32_t polls_ = 0;
    WaitClock clock_;
    EndWait end_wait_;
    Clock::time_point next_check_{};
};

}  // namespace

MpiCommunicator::MpiCommunicator(const MpiSession& session, std::size_t max_message_bytes)
    : group_(std::make_shared<MpiGroup>(session, duplicate_of(MPI_COMM_WORLD),
                                        std::clamp<std::size_t>(max_message_bytes, 1, kMaxMessageBytes))) {}

MpiCommunicator::MpiCommunicator(std::shared_ptr<MpiGroup> group) : group_(std::move(group)) {}
MpiCommunicator::~MpiCommunicator() = default;

int MpiCommunicator::rank() const {
    return group_->rank;
}
int MpiCommunicator::size() const {
    return group_->size;
}

Pending MpiCommunicator::start_exchange(std::span<const Outgoing> send, std::span<const Incoming> receive,
                                        const CallSite& site) {
    auto operation = std::make_unique<MpiOperation>(group_, site);
    const int tag = group_->tags.tag(operation->call(), group_->places.add(site));
    const MPI_Comm comm = group_->handle.get();
    for (const Incoming& message : receive) {
        group_->check_peer(message.peer, site);
        group_->in_parts(message.bytes.size(), [&](std::size_t at, int bytes) {
            check_mpi(MPI_Irecv(message.bytes.data() + at, bytes, MPI_BYTE, message.peer, tag, comm,
                                operation->add(message.peer, true, bytes)),
                      site.name, message.peer);
        });
    }
    for (const Outgoing& message : send) {
        group_->check_peer(message.peer, site);
        group_->in_parts(message.bytes.size(), [&](std::size_t at, int bytes) {
            check_mpi(MPI_Isend(message.bytes.data() + at, bytes, MPI_BYTE, message.peer, tag, comm,
                                operation->add(message.peer, false, bytes)),
                      site.name, message.peer);
        });
    }
    return Pending(std::move(operation));
}

Pending MpiCommunicator::start_fast_all_reduce(std::span<float> values, std::source_location where) {
    auto operation = std::make_unique<MpiOperation>(group_, CallSite{"all-reduce", where});
    constexpr std::size_t kMost = std::size_t{1} << 30;
    for (std::size_t at = 0; at < values.size(); at += kMost) {
        const int count = static_cast<int>(std::min(kMost, values.size() - at));
        check_mpi(MPI_Iallreduce(MPI_IN_PLACE, values.data() + at, count, MPI_FLOAT, MPI_SUM,
                                 group_->handle.get(), operation->add(-1, false, 0)),
                  "all-reduce");
    }
    return Pending(std::move(operation));
}

std::unique_ptr<Communicator> MpiCommunicator::duplicate() {
    return std::unique_ptr<Communicator>(new MpiCommunicator(std::make_shared<MpiGroup>(
        *group_->session, duplicate_of(group_->handle.get()), group_->max_message_bytes)));
}

std::unique_ptr<MpiCommunicator> MpiCommunicator::split(int color, int key) {
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(group_->handle.get(), color, key, &part), "communicator split");
    return std::unique_ptr<MpiCommunicator>(new MpiCommunicator(
        std::make_shared<MpiGroup>(*group_->session, CommunicatorHandle(part), group_->max_message_bytes)));
}

}  // namespace skein
