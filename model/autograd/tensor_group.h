#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <span>

#include "model/tensor/communicator.h"
#include "model/tensor/stream.h"
#include "model/tensor/tensor.h"

namespace skein {

/// The ranks that hold one model together, and what they do to tensors on a stream's device. All of it is
/// collective: every rank makes the same calls in the same order, at the same places in the code. Sums are
/// added in the order of ranks, in fp32, and rounded once, so all ranks get the same bits. Throws MpiError,
/// CudaError.
class TensorGroup {
  public:
    /// The communicator moves the host's memory or that of the streams' GPU, and must outlive this.
    explicit TensorGroup(Communicator& communicator) : communicator_(communicator) {}
    TensorGroup(const TensorGroup&) = delete;
    TensorGroup& operator=(const TensorGroup&) = delete;

    int rank() const { return communicator_.rank(); }
    int size() const { return communicator_.size(); }

    /// values ← the sum of all ranks' values, in place; f32, bf16 or f16.
    void all_reduce(Stream& stream, const Tensor& values,
                    std::source_location where = std::source_location::current());
    /// Rank r's slice of rows, [slice_begin(rows, size, r), slice_begin(rows, size, r + 1)), is `slice`: the
    /// whole, [rows, ...].
    Tensor all_gather_rows(Stream& stream, const Tensor& slice, std::int64_t rows,
                           std::source_location where = std::source_location::current());
    /// This rank's slice of rows of the sum of all ranks' `whole`, which is [rows, ...].
    Tensor reduce_scatter_rows(Stream& stream, const Tensor& whole,
                               std::source_location where = std::source_location::current());
    /// Every rank's tensor, which may be of different lengths, one behind the other: `counts` are their
    /// elements by rank. [Σ counts].
    Tensor all_gather(Stream& stream, const Tensor& mine, std::span<const std::int64_t> counts,
                      std::source_location where = std::source_location::current());
    /// The same for tensors of one length: [size · elements].
    Tensor all_gather(Stream& stream, const Tensor& mine,
                      std::source_location where = std::source_location::current());

    /// What this rank has sent since it was made, or since forget_bytes.
    std::int64_t bytes_sent() const { return bytes_sent_; }
    void forget_bytes() { bytes_sent_ = 0; }

  private:
    struct Part;
    void exchange(Stream& stream, std::span<const Part> send, std::span<const Part> receive,
                  const CallSite& site);
    /// Sends each rank its slice of `values`, cut at `cut(r)` elements, and sums this rank's into `sum`.
    template <class Cut>
    void scatter_sum(Stream& stream, const Tensor& values, const Cut& cut, const Tensor& sum,
                     const CallSite& site);
    /// Rank r's slice of `values` is there on rank r: then on all.
    template <class Cut>
    void spread(Stream& stream, const Tensor& values, const Cut& cut, const CallSite& site);

    Communicator& communicator_;
    std::int64_t bytes_sent_ = 0;
};

}  // namespace skein
