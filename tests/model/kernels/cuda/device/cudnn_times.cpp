#include <cmath>
#include <iostream>

#include "model/base/error.h"
#include "tests/model/kernels/cuda/device/cudnn_attention.h"
#include "tests/model/kernels/cuda/device/device_memory.h"
#include "tests/model/kernels/cuda/device/times.h"

namespace skein::test {

void print_cudnn_times() {
    std::cout << "cuDNN " << cudnn_version() << "\n";
    const std::int64_t batch = 8, length = 1024, heads = 12, width = 64, row = heads * width;
    const DType type = DType::bf16;
    const DeviceMemory packed = device_values(type, batch * length * 3 * row),
                       output = device_values(type, batch * length * row),
                       log_sum_exp = device_values(DType::f32, batch * heads * length);
    for (const bool causal : {true, false}) {
        kernels::AttentionArgs args;
        args.batch = batch, args.query_length = args.key_length = length;
        args.heads = args.key_value_heads = heads, args.head_width = width;
        args.scale = 1.0f / std::sqrt(static_cast<float>(width));
        args.causal = causal;
        args.query = {packed.get(), type};
        args.key = args.query + row;
        args.value = args.query + 2 * row;
        args.query_stride = args.key_stride = args.value_stride = 3 * row;
        args.output = {output.get(), type}, args.output_stride = row;
        args.log_sum_exp = static_cast<float*>(log_sum_exp.get());
        CudnnAttention attention(args);
        const DeviceMemory workspace = device_bytes(attention.workspace_bytes() + 1);
        const double pairs = static_cast<double>(batch * heads * length * length) * (causal ? 0.5 : 1.0);
        const double bytes = 4.0 * 2.0 * static_cast<double>(batch * length * row);
        print_time(text("attention by cuDNN, forward, ", batch, " x ", length, " x ", heads, " x ", width,
                        causal ? ", causal" : ", full"),
                   4.0 * pairs * static_cast<double>(width), bytes,
                   [&] { attention.run(args, workspace.get()); });
    }
}

}  // namespace skein::test
