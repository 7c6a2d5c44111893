#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skein {

class Stream;

/// A non-blocking operation under way. Move-only. The memory that it reads and writes must stay in place
/// until it is done. One dropped before it is done is abandoned: its communicator is of no more use (only for
/// leaving on an error). An operation of a communicator that has a stream goes on by itself, dropped or not.
class Pending {
  public:
    class Operation {
      public:
        virtual ~Operation() = default;
        /// Moves it on; true when it is done. Not called again after that.
        virtual bool poll() = 0;
        /// Waits as the communicator's kind does; true when it is done, as far as the host can tell.
        virtual bool wait();
    };

    /// Done already.
    Pending() = default;
    explicit Pending(std::unique_ptr<Operation> operation) : operation_(std::move(operation)) {}

    /// Moves it on without blocking; true when it is done. Throws what the operation meets (MpiError).
    bool poll();
    /// On host memory: returns when it is done, and lets other threads and processes run while it waits. On a
    /// GPU's: what is queued on the communicator's user's stream from now on runs when it is done, and the
    /// host does not wait; poll still tells when that is. Throws as poll.
    void wait();
    /// Returns when it is done on the device as well, wherever the memory is. Throws as poll: so a rank that
    /// does not come is an error here, where a wait for the device itself would last for ever.
    void wait_on_host();

  private:
    std::unique_ptr<Operation> operation_;
};

/// What goes to one other rank, and what is to come from one.
struct Outgoing {
    int peer = 0;
    std::span<const std::byte> bytes;
};
struct Incoming {
    int peer = 0;
    std::span<std::byte> bytes;
};

enum class Reduction { kSum, kMin, kMax };

/// Slice i of n elements cut into `parts` nearly equal slices is [slice_begin(n, parts, i), slice_begin(n,
/// parts, i + 1)).
constexpr std::int64_t slice_begin(std::int64_t n, int parts, int i) {
    return n * i / parts;
}

/// A group of ranks that act together on the memory of one device. Everything but rank, size and stream is a
/// collective: all ranks call the same ones in the same order, from the thread that made it. A device
/// implements start_exchange; what is made of it is the same on all. Messages may be empty and of any length.
///
/// One that has a stream of its own moves a GPU's memory and is made for the user of one other stream. What
/// it starts is queued behind all that was queued on the user's stream by then, and runs on its own in the
/// order of the calls. Reductions in the order of ranks, texts and the barrier are the host's: there they
/// throw.
class Communicator {
  public:
    Communicator() = default;
    Communicator(const Communicator&) = delete;
    Communicator& operator=(const Communicator&) = delete;
    virtual ~Communicator() = default;

    virtual int rank() const = 0;
    virtual int size() const = 0;
    /// Its own stream; null where it moves the host's memory.
    virtual Stream* stream() { return nullptr; }

    /// Sends and receives any messages to and from other ranks. The n-th message from a to b is the n-th that
    /// b expects from a in its own call, and both give it the same length. Any number may be in flight, and
    /// they may finish in any order. A rank without messages takes part in the call all the same. Throws
    /// MpiError.
    virtual Pending start_exchange(std::span<const Outgoing> send, std::span<const Incoming> receive) = 0;
    /// The sum over ranks, in place, in the order that the library likes best: the bits depend on it and on
    /// the number of ranks. Starts like an exchange.
    virtual Pending start_fast_all_reduce(std::span<float> values) = 0;
    /// The same ranks with an order of calls of its own.
    virtual std::unique_ptr<Communicator> duplicate() = 0;

    /// send[r] goes to rank r, receive[r] comes from rank r; one span a rank. A rank's own part is copied as
    /// copy_own does, unless both spans are the same memory.
    Pending start_all_to_all(std::span<const std::span<const std::byte>> send,
                             std::span<const std::span<std::byte>> receive);
    void all_to_all(std::span<const std::span<const std::byte>> send,
                    std::span<const std::span<std::byte>> receive) {
        start_all_to_all(send, receive).wait();
    }

    /// receive[r] becomes what rank r sent; one span a rank, as long as that rank's `send`. A rank's own part
    /// is copied as copy_own does, unless both spans are the same memory.
    Pending start_all_gather(std::span<const std::byte> send, std::span<const std::span<std::byte>> receive);
    void all_gather(std::span<const std::byte> send, std::span<const std::span<std::byte>> receive) {
        start_all_gather(send, receive).wait();
    }

    /// T: float, double, std::int64_t. In place; as long on every rank. Elements are combined in the order of
    /// ranks, from rank 0 on, so all ranks get the same bits, and the same again next time.
    template <class T>
    void all_reduce(std::span<T> values, Reduction reduction = Reduction::kSum);
    template <class T>
    T all_reduce_value(T value, Reduction reduction = Reduction::kSum) {
        all_reduce(std::span<T>(&value, 1), reduction);
        return value;
    }
    /// `slice`, of the length of this rank's slice of `values` (see slice_begin), becomes what all_reduce
    /// gives there.
    template <class T>
    void reduce_scatter(std::span<const T> values, std::span<T> slice, Reduction reduction = Reduction::kSum);

    /// `bytes`, as long on every rank, become what they are on `root`.
    void broadcast(std::span<std::byte> bytes, int root);
    /// Every rank's text, by rank; of any lengths.
    std::vector<std::string> all_gather_text(std::string_view mine);
    /// The text that `root` has; the others' is ignored.
    std::string broadcast_text(std::string_view mine, int root);
    /// Returns when every rank has called it.
    void barrier();

  private:
    /// On host memory at once; on a GPU's as an operation on the user's stream.
    virtual void copy_own(std::span<const std::byte> from, std::span<std::byte> to);
    void check_on_host(const char* operation);
};

/// The group of one rank.
class SoloCommunicator final : public Communicator {
  public:
    int rank() const override { return 0; }
    int size() const override { return 1; }
    /// Throws MpiError for any message: there is nobody to send it to.
    Pending start_exchange(std::span<const Outgoing> send, std::span<const Incoming> receive) override;
    Pending start_fast_all_reduce(std::span<float>) override { return {}; }
    std::unique_ptr<Communicator> duplicate() override { return std::make_unique<SoloCommunicator>(); }
};

}  // namespace skein
