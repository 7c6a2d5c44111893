#include "parallel/progress_board.h"

#include <mpi.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <span>
#include <thread>

#include "parallel/mpi_check.h"

namespace skein {

struct ProgressBoard::State {
    MPI_Comm ranks = MPI_COMM_NULL;
    MPI_Win window = MPI_WIN_NULL;
    std::uint64_t* mine = nullptr;
    std::vector<int> members;  // ranks of the session
    bool abandoned = false;
};

ProgressBoard::ProgressBoard(const MpiSession& session, Communicator& group)
    : state_(std::make_unique<State>()) {
    const int own = session.rank();
    std::vector<int>& members = state_->members;
    members.resize(static_cast<std::size_t>(group.size()));
    std::vector<std::span<std::byte>> receive;
    for (int& member : members) receive.push_back(std::as_writable_bytes(std::span(&member, 1)));
    group.all_gather(std::as_bytes(std::span(&own, 1)), receive);

    constexpr const char* kOperation = "progress board";
    // Of all ranks, not of the group: Open MPI 4.1 mixes up the windows of groups that have no rank in
    // common.
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &state_->ranks), kOperation);
    check_mpi(MPI_Comm_set_errhandler(state_->ranks, MPI_ERRORS_RETURN), kOperation);
    check_mpi(MPI_Win_allocate(sizeof(std::uint64_t), sizeof(std::uint64_t), MPI_INFO_NULL, state_->ranks,
                               static_cast<void*>(&state_->mine), &state_->window),
              kOperation);
    check_mpi(MPI_Win_set_errhandler(state_->window, MPI_ERRORS_RETURN), kOperation);
    *state_->mine = 0;
    check_mpi(MPI_Barrier(state_->ranks), kOperation);
    check_mpi(MPI_Win_lock_all(MPI_MODE_NOCHECK, state_->window), kOperation);
}

ProgressBoard::~ProgressBoard() {
    int over = 0;
    MPI_Finalized(&over);
    // Freeing is a collective. Ranks that an error drives out do not wait for the others.
    if (over || state_->abandoned || std::uncaught_exceptions() > 0) return;
    MPI_Win_unlock_all(state_->window);
    MPI_Win_free(&state_->window);
    MPI_Comm_free(&state_->ranks);
}

void ProgressBoard::abandon() {
    state_->abandoned = true;
}

void ProgressBoard::publish(std::uint64_t number) {
    std::atomic_ref(*state_->mine).store(number, std::memory_order_release);
    check_mpi(MPI_Win_sync(state_->window), "progress board");
}

void ProgressBoard::answer() const {
    int found = 0;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, 0, state_->ranks, &found, MPI_STATUS_IGNORE), "progress board");
}

std::vector<ProgressBoard::Entry> ProgressBoard::read(double patience_seconds) const {
    const std::size_t size = state_->members.size();
    // On the heap, and left there where a rank may still answer.
    auto numbers = std::make_unique<std::vector<std::uint64_t>>(size, 0);
    std::vector<MPI_Request> requests(size, MPI_REQUEST_NULL);
    std::vector<Entry> entries;
    for (const int member : state_->members) entries.push_back({member, std::nullopt});
    for (std::size_t rank = 0; rank < size; ++rank)
        check_mpi(MPI_Rget(&(*numbers)[rank], 1, MPI_UINT64_T, entries[rank].rank, 0, 1, MPI_UINT64_T,
                           state_->window, &requests[rank]),
                  "progress board", entries[rank].rank);
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience_seconds);
    for (bool all = false; !all;) {
        const bool last = std::chrono::steady_clock::now() >= end;
        all = true;
        for (std::size_t rank = 0; rank < size; ++rank) {
            if (entries[rank].number) continue;
            int done = 0;
            check_mpi(MPI_Test(&requests[rank], &done, MPI_STATUS_IGNORE), "progress board",
                      entries[rank].rank);
            if (done) entries[rank].number = (*numbers)[rank];
            all = all && done;
        }
        if (last && !all) {
            numbers.release();
            break;
        }
        if (!all) std::this_thread::yield();
    }
    return entries;
}

}  // namespace skein
