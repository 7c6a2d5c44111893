#include "parallel/gather_slices.h"

#include <vector>

namespace skein {
namespace {

std::vector<std::span<std::byte>> slices_of(const Tensor& all, std::span<const std::int64_t> begins) {
    const auto element = static_cast<std::int64_t>(size_of(all.dtype()));
    std::vector<std::span<std::byte>> slices;
    for (std::size_t rank = 0; rank + 1 < begins.size(); ++rank)
        slices.emplace_back(all.raw() + begins[rank] * element,
                            static_cast<std::size_t>((begins[rank + 1] - begins[rank]) * element));
    return slices;
}

}  // namespace

Pending gather_slices(Stream& stream, Communicator& host, Communicator* device, const Tensor& all,
                      std::span<const std::int64_t> begins) {
    if (host.size() == 1) return {};
    const auto own = static_cast<std::size_t>(host.rank());
    if (device) {
        const auto slices = slices_of(all, begins);
        Pending coming = device->start_all_gather(slices[own], slices);
        coming.wait();
        return coming;
    }
    const Tensor here = on_host(stream, all);
    const auto slices = slices_of(here, begins);
    host.all_gather(slices[own], slices);
    if (all.device() != Device::cpu) assign_bytes(stream, all, {here.raw(), here.bytes()});
    return {};
}

}  // namespace skein
