#include "launch/bench_kernels.h"

#include <cstdio>
#include <string>

namespace skein {
namespace {

void print_line(const FamilyTime& family, double floor, double step) {
    std::printf("  %-24s %6lld %9.2f %5.1f %% %8.4g %9.4g %8.1f %9.1f %9.2f %9.2f\n",
                std::string(family.name).c_str(), static_cast<long long>(family.calls), family.seconds * 1e3,
                100.0 * family.seconds / step, family.bytes * 1e-9, family.flops * 1e-9,
                family.bytes / family.seconds * 1e-9, family.flops / family.seconds * 1e-9, floor * 1e3,
                (family.seconds - floor) * 1e3);
}

FamilyTime all_of(const KernelTimes& times) {
    FamilyTime sum{"all kernels"};
    sum.seconds = times.inside;
    for (const FamilyTime& family : times.families) {
        sum.calls += family.calls;
        sum.bytes += family.bytes;
        sum.flops += family.flops;
    }
    return sum;
}

}  // namespace

void print(const KernelReport& report) {
    const KernelTimes& times = report.times;
    std::printf("A step of rank 0 by kernel, the most to be gained first; medians\n");
    std::printf(
        "  the floor: bytes at the %.1f GB/s (read and written) of a large copy here, or FLOPs at the %.1f\n"
        "  GFLOP/s of a large product, whichever takes longer; what is still in a cache can be below it\n",
        report.ceilings.copy * 1e-9, report.ceilings.product * 1e-9);
    std::printf("  %-24s %6s %9s %7s %8s %9s %8s %9s %9s %9s\n", "", "calls", "ms", "share", "GB", "GFLOP",
                "GB/s", "GFLOP/s", "floor ms", "over it");
    double floors = 0.0;
    for (const FamilyTime& family : times.families) {
        print_line(family, family.floor(report.ceilings), times.step);
        floors += family.floor(report.ceilings);
    }
    print_line(all_of(times), floors, times.step);
    std::printf("  %-24s %6s %9.2f %5.1f %%\n", "in no kernel, with waits", "", times.outside * 1e3,
                100.0 * times.outside / times.step);
    std::printf("  a step with these clocks %.2f ms, without %.2f ms\n", times.step * 1e3,
                report.plain_step * 1e3);
    std::fflush(stdout);
}

}  // namespace skein
