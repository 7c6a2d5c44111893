#include "trainer/kernel_times.h"

#include <algorithm>
#include <map>

namespace skein {
namespace {

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
}

}  // namespace

double FamilyTime::floor(const Ceilings& ceilings) const {
    return std::max(bytes / ceilings.copy, flops / ceilings.product);
}

KernelTimes kernel_times(std::span<const MeteredStep> steps, const Ceilings& ceilings) {
    std::map<std::string_view, std::vector<FamilyTime>> by_name;  // a FamilyTime a step
    std::vector<double> whole, inside, outside;
    for (std::size_t step = 0; step < steps.size(); ++step) {
        whole.push_back(steps[step].seconds);
        double in_kernels = 0.0;
        for (const auto& [work, seconds] : steps[step].kernels) {
            std::vector<FamilyTime>& family = by_name[work.name];
            family.resize(steps.size(), {work.name});
            FamilyTime& sum = family[step];
            ++sum.calls;
            sum.seconds += seconds;
            sum.bytes += work.bytes;
            sum.flops += work.flops;
            in_kernels += seconds;
        }
        inside.push_back(in_kernels);
        outside.push_back(steps[step].seconds - in_kernels);
    }
    KernelTimes times{median(whole), median(inside), median(outside), {}};
    for (const auto& [name, family] : by_name) {
        std::vector<double> seconds;
        for (const FamilyTime& of_step : family) seconds.push_back(of_step.seconds);
        times.families.push_back(family.back());
        times.families.back().seconds = median(seconds);
    }
    std::ranges::stable_sort(times.families, std::greater<>(), [&](const FamilyTime& family) {
        return family.seconds - family.floor(ceilings);
    });
    return times;
}

}  // namespace skein
