#pragma once

#include <cstddef>
#include <memory>

#include "model/tensor/communicator.h"
#include "parallel/mpi_session.h"

namespace skein {

/// A group of MPI ranks with an MPI communicator of its own. Collectives are made of one non-blocking message
/// a peer; the number of the call travels in the tag, so that messages of calls in flight never mix. MPI
/// makes progress only while something is polled. Must be dropped before its session.
class MpiCommunicator final : public Communicator {
  public:
    static constexpr std::size_t kMaxMessageBytes = std::size_t{1} << 30;

    /// All ranks. Collective. Messages longer than `max_message_bytes` travel in parts. Throws MpiError.
    explicit MpiCommunicator(const MpiSession& session, std::size_t max_message_bytes = kMaxMessageBytes);
    ~MpiCommunicator() override;

    int rank() const override;
    int size() const override;
    Pending start_exchange(std::span<const Outgoing> send, std::span<const Incoming> receive) override;
    Pending start_fast_all_reduce(std::span<float> values) override;
    std::unique_ptr<Communicator> duplicate() override;

    /// The ranks that give the same color, ordered by key. Collective. Throws MpiError.
    std::unique_ptr<MpiCommunicator> split(int color, int key);

  private:
    struct State;
    explicit MpiCommunicator(std::unique_ptr<State> state);

    std::unique_ptr<State> state_;
};

}  // namespace skein
