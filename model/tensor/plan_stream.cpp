#include "model/base/error.h"
#include "model/tensor/stream.h"

namespace skein {

Stream::Stream(PlanOnly plan)
    : plans_(true), pool_(std::make_unique<Pool>(std::make_unique<PlanMemory>(plan.device))), threads_(1) {
    if (plan.device == Device::cpu) return;
    host_pool_ = std::make_unique<Pool>(std::make_unique<PlanMemory>(Device::cpu));
    input_pool_ = std::make_unique<Pool>(std::make_unique<PlanMemory>(plan.device));
}

void Stream::allow_tf32() {
    if (device() == Device::cpu) throw ConfigError("TF32 is wanted of the CPU, which has none");
    run([](auto& s) {
        if constexpr (requires { s.tf32; }) s.tf32 = true;
    });
}

void Stream::check_computes() const {
    if (plans_) throw Error("stream: a result is wanted of a stream that only plans");
}

}  // namespace skein
