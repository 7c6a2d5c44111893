#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "model/tensor/communicator.h"
#include "model/tensor/stream.h"
#include "model/tensor/tensor.h"
#include "parallel/bucket_route.h"
#include "parallel/bucket_slices.h"

namespace skein {

/// Through the host's memory: on the CPU where the gradients lie; from a GPU by way of pinned memory, to
/// which they are copied behind backward, and back for the sums, which the GPU adds up. Several buckets are
/// under way at a time, each phase in an order of calls of its own, for when a phase begins differs from rank
/// to rank.
class HostRoute final : public BucketRoute {
  public:
    /// All but the communicators must outlive this.
    HostRoute(std::unique_ptr<Communicator> scatter, std::unique_ptr<Communicator> gather, Stream& stream,
              const BucketSlices& slices, const std::vector<Tensor>& sums, GradientReduction reduction,
              SumsGoTo sums_go_to);

    bool has_room() const override;
    void start(std::size_t bucket) override;
    void poll() override;
    bool over() const override { return scatters_.empty() && sums_.empty() && gathers_.empty(); }
    void finish() override {}
    bool has_room_to_spread() const override;
    void spread(std::size_t bucket) override;
    bool is_spread(std::size_t bucket) override { return bucket < spread_; }
    Pending last_spread() override { return {}; }
    std::int64_t bytes_sent() const override { return bytes_sent_; }
    void forget() override { bytes_sent_ = 0, spread_ = 0; }
    std::size_t staging_bytes() const override;

  private:
    // This rank's sums on their way to the others, and theirs of this rank's slice to here.
    struct Scatter {
        std::size_t bucket = 0;
        std::vector<Tensor> outgoing;  // by subtree, for the host
        Event outgoing_here;
        Tensor staging;     // on the device
        BlockRef incoming;  // for the host; on the CPU none but staging
        Pending pending;
        std::int64_t bytes = 0;
        bool started = false, done = false;
    };
    // A sum on its way to all; for the fast reduction, the whole bucket.
    struct Gather {
        std::size_t bucket = 0;
        std::byte* result = nullptr;  // the bucket, for the host
        BlockRef memory;              // of it; none on the CPU
        Event result_here;
        Pending pending;
        std::int64_t bytes = 0;
        bool done = false;
    };

    bool on_cpu() const { return stream_.device() == Device::cpu; }
    bool fast() const { return reduction_ == GradientReduction::kFast; }
    Tensor bucket_of(const Tensor& sum, std::size_t bucket) const;
    void start_scatters();
    void sum_slice(Scatter& scatter);
    /// The bytes of the bucket that the others want go to the host's memory.
    void download(std::size_t bucket, std::int64_t begin, std::int64_t end);
    void download_slice(std::size_t bucket);
    void start_gathers();

    std::unique_ptr<Communicator> scatter_, gather_;
    Stream& stream_;
    const BucketSlices& slices_;
    const std::vector<Tensor>& buffers_;
    GradientReduction reduction_;
    SumsGoTo sums_go_to_;
    std::deque<Scatter> scatters_;
    std::deque<Gather> sums_, gathers_;  // those that are not under way yet, and those that are
    std::size_t spread_ = 0;             // buckets of this step that have come, all ranks' slices
    std::int64_t bytes_sent_ = 0;
};

}  // namespace skein
