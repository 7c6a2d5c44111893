#pragma once

#include <cstddef>
#include <memory>

#include "model/tensor/communicator.h"
#include "parallel/mpi_session.h"

namespace skein {

class MpiGroup;

/// A group of MPI ranks with an MPI communicator of its own. Collectives are made of one non-blocking message
/// a peer; the number of the call travels in the tag, so that messages of calls in flight never mix, and so
/// does a hash of its place in the code. MPI makes progress only while something is polled. Must be dropped
/// before its session.
///
/// A poll or a wait throws PeerError, with one line that names the ranks, the collective, its place, the
/// number of the call and the phase (see Patience),
/// - when it has been waited for as long as the session's patience is (see WaitClock), and up to a second
///   more, in which the ranks that wait tell each other for whom: named are those that wait for nobody;
/// - within some tenths of a second, when a peer has sent what this rank does not expect: a message of a call
///   that this rank has started which fits none of the receives it posted then. As all of them are posted
///   before a call's start returns, and messages of one peer never overtake each other, that peer was in
///   another collective in that call, or gave another number of messages; this is certain. A message of a
///   call that this rank has yet to start says nothing: the peer may be ahead. Two places whose hashes are
///   the same (1 in 4096) are not told apart, then sizes and the deadline are what is left; and
/// - when a message has another length.
/// One that waits while its process is asked to end says for whom (Patience::remark).
/// start_fast_all_reduce is MPI's own all-reduce, which has the deadline alone: of the group's ranks those
/// that do not answer are named. Its session says what has no deadline.
class MpiCommunicator final : public Communicator {
  public:
    static constexpr std::size_t kMaxMessageBytes = std::size_t{1} << 30;

    /// All ranks. Collective. Messages longer than `max_message_bytes` travel in parts. Throws MpiError.
    explicit MpiCommunicator(const MpiSession& session, std::size_t max_message_bytes = kMaxMessageBytes);
    ~MpiCommunicator() override;

    int rank() const override;
    int size() const override;
    Pending start_exchange(std::span<const Outgoing> send, std::span<const Incoming> receive,
                           const CallSite& site = {"exchange", std::source_location::current()}) override;
    Pending start_fast_all_reduce(std::span<float> values,
                                  std::source_location where = std::source_location::current()) override;
    /// Collective; MPI waits in it for as long as it takes.
    std::unique_ptr<Communicator> duplicate() override;

    /// The ranks that give the same color, ordered by key. Collective; MPI waits in it for as
    /// long as it takes. Throws MpiError.
    std::unique_ptr<MpiCommunicator> split(int color, int key);

  private:
    explicit MpiCommunicator(std::shared_ptr<MpiGroup> group);

    std::shared_ptr<MpiGroup> group_;
};

}  // namespace skein
