#include "trainer/environment.h"

#include <fstream>

#include "model/kernels/gemm.h"

namespace skein {
namespace {

std::string cpu_name() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("model name") && line.find(": ") != std::string::npos)
            return line.substr(line.find(": ") + 2);
    return "unknown";
}

}  // namespace

std::string device_name(Stream& stream) {
    return stream.gpu() ? properties_of(*stream.gpu()).name : cpu_name();
}

std::vector<std::pair<std::string, std::string>> bits_lean_on(Stream& stream) {
#if defined(__AVX512F__)
    const char* architecture = "avx512";
#elif defined(__AVX2__) && defined(__FMA__)
    const char* architecture = "avx2-fma";
#else
    const char* architecture = "generic";
#endif
    std::vector<std::pair<std::string, std::string>> all{
        {"cpu", cpu_name()},
        {"architecture", architecture},
        {"compiler", __VERSION__},
        {"matrix-products", stream.run([](auto& s) { return kernels::matmul_library(s); })}};
    if (stream.gpu()) {
        const GpuProperties properties = properties_of(*stream.gpu());
        all.emplace_back("gpu", properties.name);
        all.emplace_back("cuda", std::to_string(properties.runtime));
    }
    return all;
}

}  // namespace skein
