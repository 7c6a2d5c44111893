#include "model/kernels/gather_rows.h"

#include <cstring>

#include "model/base/parallel_for.h"

namespace skein::kernels {

void gather_rows(CpuStream& stream, const GatherRowsArgs& args) {
    const auto* from = static_cast<const std::byte*>(args.from);
    auto* to = static_cast<std::byte*>(args.to);
    parallel_for(stream.threads, args.rows, [&](std::int64_t i) {
        std::memcpy(to + static_cast<std::size_t>(i) * args.to_stride,
                    from + static_cast<std::size_t>(args.which[i]) * args.from_stride, args.bytes);
    });
}

}  // namespace skein::kernels
