#include "launch/device.h"

#include <algorithm>
#include <iostream>
#include <sstream>

#include "model/base/error.h"
#include "parallel/gpu_binding.h"

namespace skein {
namespace {

// A rank's report as text, and back: what ranks exchange.
std::string to_text(const RankGpus& rank) {
    return text(rank.gpus.count, " ", rank.gpus.built, " ", rank.host, "\n", rank.gpus.missing);
}

RankGpus from_text(const std::string& report) {
    RankGpus rank;
    std::istringstream in(report);
    in >> rank.gpus.count >> rank.gpus.built >> rank.host;
    in.ignore();
    std::getline(in, rank.gpus.missing);
    return rank;
}

}  // namespace

DeviceChoice choose_device(const std::string& asked, const std::vector<RankGpus>& ranks) {
    if (asked == "cpu") return {};
    const auto without =
        std::ranges::find_if(ranks, [](const RankGpus& rank) { return rank.gpus.count == 0; });
    if (without == ranks.end()) return {Device::cuda, ""};
    std::string why = without->gpus.missing;
    if (ranks.size() > 1) why += text(" (rank ", without - ranks.begin(), " on ", without->host, ")");
    if (asked == "cuda") throw CudaError(text("--device cuda: ", why, "; wanted a GPU, or --device cpu"));
    // a build for the CPU alone has nothing to fall back from
    return {Device::cpu, without->gpus.built ? text("no GPU is used: ", why, "; computing on the CPU") : ""};
}

std::optional<Gpu> device_of_a_rank(const std::string& asked, Ranks& ranks) {
    if (asked == "cpu") return std::nullopt;
    const RankGpus mine{ranks.session().host(), find_gpus()};
    std::vector<RankGpus> all;
    for (const std::string& report : ranks.world().all_gather_text(to_text(mine)))
        all.push_back(from_text(report));
    DeviceChoice chosen;
    ranks.together([&] { chosen = choose_device(asked, all); });
    if (ranks.is_first() && !chosen.line.empty()) std::cerr << chosen.line << std::endl;
    if (chosen.device == Device::cpu) return std::nullopt;
    return gpu_of_rank(ranks.session(), mine.gpus.count);
}

std::optional<Gpu> device_of_this_process(const std::string& asked, const std::string& command) {
    const DeviceChoice chosen = choose_device(asked, {{"", find_gpus()}});
    if (!chosen.line.empty()) std::cerr << "skein " << command << ": " << chosen.line << std::endl;
    return chosen.device == Device::cpu ? std::nullopt : std::optional(Gpu{});
}

}  // namespace skein
