#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "model/nn/parameter.h"
#include "model/tensor/communicator.h"
#include "model/tensor/stream.h"
#include "parallel/bucket_exchange.h"
#include "parallel/gradient_layout.h"
#include "parallel/lanes.h"

namespace skein {

struct GradientSyncOptions {
    int lanes = 1;
    /// Small enough that a model of a million parameters has several; from here to 16 MiB, throughput was the
    /// same within noise (two ranks on one node).
    std::size_t bucket_bytes = std::size_t{1} << 20;
    /// Send while backward goes on; if not, everything leaves in finish. The bits are the same.
    bool overlap = true;
    GradientReduction reduction = GradientReduction::kLanes;
    /// Each rank is left with the sums of its slices alone, cut on blocks (see BucketCuts), to update the
    /// parameters there and spread them. Not with GradientReduction::kFast.
    bool sharded = false;
};

/// Of one step, on this rank. Counted when a message is done, so that only what really left early counts as
/// early.
struct GradientSyncStatistics {
    std::int64_t bytes_sent = 0;
    std::int64_t bytes_sent_during_backward = 0;
};

/// Sums gradients over lanes and data-parallel ranks, and sends them on their way while backward goes on. It
/// owns the gradient buffers and tells the leaves where to write.
///
/// A step on each rank: begin_step; for each of its lanes in order begin_lane, the passes of the lane, with
/// ready called for each parameter that is final in the last of them (Tape::on_leaf_final), or else
/// empty_lane; backward_ended; finish. poll goes on Tape::after_op. A parameter that nobody called ready for
/// by the end of its lane contributes what it has, +0 if that is nothing.
class GradientSync {
  public:
    /// Collective over `data`, which moves the host's memory or that of the stream's GPU; where it throws on
    /// one rank only, the others do not wait for that one. Communicator, parameters and stream must outlive
    /// this. Throws ConfigError (see Lanes).
    GradientSync(Communicator& data, ParameterList& parameters, Stream& stream,
                 const GradientSyncOptions& options);
    GradientSync(const GradientSync&) = delete;
    GradientSync& operator=(const GradientSync&) = delete;

    const Lanes& lanes() const { return lanes_; }
    /// The lanes that this rank runs.
    LaneRange own_lanes() const { return own_; }

    /// Throws Error when the last step's sends are not over.
    void begin_step();
    /// Points every leaf at its place for this lane and clears its `accumulate`. Throws Error when it is not
    /// this lane's turn.
    void begin_lane(int lane);
    /// The leaf's gradient of this lane is final. Adds it to the lanes before it, siblings only; in the last
    /// lane, counts it into its buckets. Throws Error for a leaf that is none of the parameters' or is ready
    /// already.
    void ready(Leaf& leaf);
    /// A lane without samples: contributes +0 for every parameter.
    void empty_lane(int lane);
    /// Moves full buckets on without blocking. Throws MpiError, CudaError.
    void poll();
    /// For the statistics: what is sent from here on was not hidden behind backward.
    void backward_ended() { sent_during_backward_ = exchange_.bytes_sent(); }
    /// Every leaf's gradient, on every rank (where sharded, in this rank's slices of the buckets alone) is
    /// the sum over all lanes for what is queued on the stream from now on. With a communicator of the host's
    /// memory it returns when the messages have arrived; with one of the GPU's, when the step before this one
    /// is over. Throws MpiError, CudaError, and Error when a lane is missing. Where a rank does not come, a
    /// wait for the device would last for ever: before one, call wait_on_host for an operation of the
    /// communicator that was started behind finish.
    void finish();
    /// Where sharded, behind finish: the places of this rank's slices of the buckets before `end` hold what
    /// is to go to the other ranks, once what is queued on the stream by now is done. It travels while poll
    /// is called. `end` does not go back. Throws MpiError, CudaError.
    void spread(std::size_t end);
    /// What is queued on the stream from now on finds what all ranks spread of the buckets before `end` in
    /// the leaves' gradients. Throws MpiError, CudaError.
    void await_spread(std::size_t end) { exchange_.await_spread(end); }
    /// Of the last await_spread of a step: an operation that is over when all that came before it is, for the
    /// host to ask where a GPU's memory is moved.
    Pending last_spread() { return exchange_.last_spread(); }

    /// Since begin_step; see BucketExchange::bytes_sent.
    GradientSyncStatistics statistics() const { return {exchange_.bytes_sent(), sent_during_backward_}; }
    /// Flat gradient buffers that this rank holds, one for each level of its stack of lanes, and their bytes
    /// in all.
    int buffer_count() const { return static_cast<int>(buffers_.size()); }
    std::size_t buffer_bytes() const;
    /// The most that is held besides, to receive other ranks' sums in.
    std::size_t staging_bytes() const { return exchange_.staging_bytes(); }
    const GradientLayout& layout() const { return layout_; }
    bool sharded() const { return options_.sharded; }

  private:
    GradientSync(ExchangeGroups groups, Communicator& data, ParameterList& parameters, Stream& stream,
                 const GradientSyncOptions& options);
    int depth_before(int lane) const;
    void close_lane();
    void settle(std::size_t parameter);

    ParameterList& parameters_;
    Stream& stream_;
    GradientSyncOptions options_;
    Lanes lanes_;
    LaneRange own_;
    GradientLayout layout_;
    std::vector<Tensor> buffers_;
    std::vector<std::vector<Tensor>> views_;  // by buffer and parameter
    std::unordered_map<const Leaf*, std::size_t> parameter_of_;
    BucketExchange exchange_;

    int next_lane_ = 0;
    bool lane_open_ = false;
    std::size_t top_ = 0;           // the buffer that the lane is written into
    int merges_ = 0;                // how many times it is added to the one below
    std::vector<char> settled_;     // by parameter, in this lane
    std::vector<int> outstanding_;  // by bucket, parameters that are not final
    std::int64_t sent_during_backward_ = 0;
};

}  // namespace skein
