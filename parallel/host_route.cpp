#include "parallel/host_route.h"

#include <algorithm>
#include <span>
#include <utility>

#include "model/tensor/memory.h"
#include "parallel/tree_sum.h"

namespace skein {
namespace {

// Buckets whose sums are on their way at once: bounds the staging memory.
constexpr std::size_t kScattersInFlight = 8;
// Buckets that are spread at once: bounds the pinned memory.
constexpr std::size_t kSpreadsInFlight = 8;

}  // namespace

HostRoute::HostRoute(std::unique_ptr<Communicator> scatter, std::unique_ptr<Communicator> gather,
                     Stream& stream, const BucketSlices& slices, const std::vector<Tensor>& sums,
                     GradientReduction reduction, SumsGoTo sums_go_to)
    : scatter_(std::move(scatter)),
      gather_(std::move(gather)),
      stream_(stream),
      slices_(slices),
      buffers_(sums),
      reduction_(reduction),
      sums_go_to_(sums_go_to) {}

std::size_t HostRoute::staging_bytes() const {
    if (slices_.ranks() == 1 || fast()) return 0;
    std::int64_t held = 0, most = 0;
    for (std::size_t bucket = 0; bucket < slices_.buckets(); ++bucket) {
        held += slices_.staging_elements(bucket);
        if (bucket >= kScattersInFlight) held -= slices_.staging_elements(bucket - kScattersInFlight);
        most = std::max(most, held);
    }
    return static_cast<std::size_t>(most) * sizeof(float);
}

bool HostRoute::has_room() const {
    return scatters_.size() + sums_.size() < kScattersInFlight;
}

Tensor HostRoute::bucket_of(const Tensor& sum, std::size_t bucket) const {
    return sum.view(slices_.bucket(bucket).begin, {slices_.width(bucket)});
}

void HostRoute::start(std::size_t bucket) {
    if (fast()) {
        download(bucket, 0, slices_.width(bucket));
        return start_gathers();
    }
    Scatter scatter;
    scatter.bucket = bucket;
    for (int i = 0; i < slices_.own_subtrees(); ++i)
        scatter.outgoing.push_back(
            start_on_host(stream_, bucket_of(buffers_[static_cast<std::size_t>(i)], bucket)));
    scatter.outgoing_here.record(stream_);
    scatters_.push_back(std::move(scatter));
    start_scatters();
}

void HostRoute::start_scatters() {
    for (Scatter& scatter : scatters_) {
        if (scatter.started) continue;
        if (!scatter.outgoing_here.done()) return;
        scatter.staging = Tensor::empty(stream_, DType::f32, {slices_.staging_elements(scatter.bucket)});
        if (!on_cpu()) scatter.incoming = stream_.host_pool().allocate(scatter.staging.bytes());
        std::vector<const std::byte*> sums;
        for (const Tensor& sum : scatter.outgoing) sums.push_back(sum.raw());
        const std::vector<Outgoing> send = slices_.outgoing(scatter.bucket, sums);
        for (const Outgoing& message : send) scatter.bytes += static_cast<std::int64_t>(message.bytes.size());
        std::byte* incoming = on_cpu() ? scatter.staging.raw() : scatter.incoming.get()->data;
        scatter.pending = scatter_->start_exchange(send, slices_.incoming(scatter.bucket, incoming));
        scatter.started = true;
    }
}

void HostRoute::sum_slice(Scatter& scatter) {
    const std::size_t bucket = scatter.bucket;
    // This rank's own slice of its sums was sent to nobody, so it may be overwritten.
    std::vector<float*> sums;
    for (int i = 0; i < slices_.own_subtrees(); ++i)
        sums.push_back(bucket_of(buffers_[static_cast<std::size_t>(i)], bucket).data<float>());
    const std::vector<float*> operands = slices_.operands(bucket, sums, scatter.staging.data<float>());
    float* result = sums[0] + slices_.offset(bucket, slices_.rank());
    if (scatter.incoming)
        stream_.run([&](auto& s) {
            upload(s, scatter.incoming.get()->data, scatter.staging.raw(), scatter.staging.bytes());
        });
    const std::int64_t count = slices_.own_count(bucket);
    stream_.run(sum_along_tree_work(operands, count),
                [&](auto& s) { sum_along_tree(s, slices_.merges(), operands, result, count); });
}

void HostRoute::download(std::size_t bucket, std::int64_t begin, std::int64_t end) {
    constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
    Gather gather;
    gather.bucket = bucket;
    const Tensor sum = bucket_of(buffers_[0], bucket);
    gather.result = sum.raw();
    if (!on_cpu()) {
        gather.memory = stream_.host_pool().allocate(sum.bytes());
        gather.result = gather.memory.get()->data;
        stream_.run([&](auto& s) {
            start_download(s, sum.raw() + begin * kFloat, gather.result + begin * kFloat,
                           static_cast<std::size_t>((end - begin) * kFloat));
        });
        gather.result_here.record(stream_);
    }
    sums_.push_back(std::move(gather));
}

void HostRoute::download_slice(std::size_t bucket) {
    download(bucket, slices_.offset(bucket, slices_.rank()), slices_.offset(bucket, slices_.rank() + 1));
}

void HostRoute::start_gathers() {
    for (; !sums_.empty() && sums_.front().result_here.done(); sums_.pop_front()) {
        Gather gather = std::move(sums_.front());
        if (fast()) {
            gather.pending =
                gather_->start_fast_all_reduce({reinterpret_cast<float*>(gather.result),
                                                static_cast<std::size_t>(slices_.width(gather.bucket))});
            gather.bytes = slices_.ring_bytes(gather.bucket);
        } else {
            const auto parts = slices_.slices(gather.bucket, gather.result);
            gather.pending =
                gather_->start_all_gather(parts[static_cast<std::size_t>(slices_.rank())], parts);
            gather.bytes = slices_.gather_bytes(gather.bucket);
        }
        gathers_.push_back(std::move(gather));
    }
}

void HostRoute::poll() {
    const auto move_on = [&](auto& phase) {
        if (phase.done || !phase.pending.poll()) return;
        phase.done = true;
        bytes_sent_ += phase.bytes;
    };
    for (Gather& gather : gathers_) move_on(gather);
    for (; !gathers_.empty() && gathers_.front().done; gathers_.pop_front()) {
        const Gather& gather = gathers_.front();
        ++spread_;
        if (!gather.memory) continue;
        const Tensor sum = bucket_of(buffers_[0], gather.bucket);
        stream_.run([&](auto& s) { upload(s, gather.result, sum.raw(), sum.bytes()); });
    }
    start_scatters();
    for (Scatter& scatter : scatters_)
        if (scatter.started) move_on(scatter);
    for (; !scatters_.empty() && scatters_.front().done; scatters_.pop_front()) {
        const std::size_t bucket = scatters_.front().bucket;
        sum_slice(scatters_.front());
        if (sums_go_to_ == SumsGoTo::kAll) download_slice(bucket);
    }
    start_gathers();
}

bool HostRoute::has_room_to_spread() const {
    return sums_.size() + gathers_.size() < kSpreadsInFlight;
}

void HostRoute::spread(std::size_t bucket) {
    download_slice(bucket);
    start_gathers();
}

}  // namespace skein
