#include "trainer/environment.h"

#include <fstream>

namespace skein {
std::string device_name() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("model name") && line.find(": ") != std::string::npos)
            return line.substr(line.find(": ") + 2);
    return "unknown";
}

std::vector<std::pair<std::string, std::string>> bits_lean_on() {
#if defined(__AVX512F__)
    const char* architecture = "avx512";
#elif defined(__AVX2__) && defined(__FMA__)
    const char* architecture = "avx2-fma";
#else
    const char* architecture = "generic";
#endif
    return {{"cpu", device_name()},
            {"architecture", architecture},
            {"compiler", __VERSION__},
            {"matrix-products", "skein"}};
}

}  // namespace skein
