#include <iostream>
#include <optional>
#include <type_traits>

#include "model/base/error.h"
#include "tests/model/kernels/cuda/device/cudnn_attention.h"
#include "tests/model/kernels/cuda/device/times.h"

namespace skein::test {

void print_cudnn_time(Stream& stream, const std::string& what, const kernels::AttentionArgs& args,
                      double flops, double bytes) {
    std::optional<CudnnAttention> attention;
    try {
        attention.emplace(args);
    } catch (const Error& error) {
        std::cout << what << ": " << error.what() << "\n";  // ours is timed all the same
        return;
    }
    const BlockRef workspace = stream.pool().allocate(attention->workspace_bytes() + 1);
    stream.run([&](auto& s) {
        if constexpr (std::is_same_v<std::decay_t<decltype(s)>, CudaStream>)
            print_time(stream, what, flops, bytes, [&] { attention->run(s, args, workspace.get()->data); });
    });
}

}  // namespace skein::test
