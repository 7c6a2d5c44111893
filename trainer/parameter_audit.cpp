#include "trainer/parameter_audit.h"

#include <algorithm>
#include <span>

#include "model/base/error.h"
#include "model/base/hash.h"
#include "trainer/model_state.h"
#include "trainer/parameter_digest.h"

namespace skein {
namespace {

/// "rank 1 on a", "rank 1 on a and rank 3 on b", ...
std::string listed(const std::vector<std::string>& names) {
    std::string line;
    for (std::size_t i = 0; i < names.size(); ++i)
        line += text(i == 0 ? "" : i + 1 == names.size() ? " and " : ", ", names[i]);
    return line;
}

std::size_t first_difference(const ParameterDigests& one, const ParameterDigests& other) {
    return static_cast<std::size_t>(std::mismatch(one.begin(), one.end(), other.begin()).first - one.begin());
}

}  // namespace

std::vector<ReplicatedTensor> replicated_state(const ParameterList& parameters, const Optimizer& optimizer,
                                               bool sharded) {
    std::vector<ReplicatedTensor> state;
    const auto add = [&](std::string_view prefix, const std::string& name, const Tensor& value) {
        if (value) state.push_back({text(prefix, name), value});
    };
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const Leaf& leaf = parameters[i].leaf;
        add(kParametersPrefix, parameters[i].name, leaf.value);
        add(kParametersPrefix, parameters[i].name + " in 16 bits", leaf.copy);
    }
    for (std::size_t run = 0; run < optimizer.runs().size() && !sharded; ++run) {
        const std::string& name = parameters[optimizer.runs()[run].parameter].name;
        add(kMoment1Prefix, name, optimizer.moment1(run));
        add(kMoment2Prefix, name, optimizer.moment2(run));
    }
    return state;
}

std::string difference_of_replicas(Stream& stream, std::span<const ReplicatedTensor> state,
                                   Communicator& group, const std::string& me) {
    std::vector<Tensor> tensors;
    for (const ReplicatedTensor& one : state) tensors.push_back(one.value);
    const ParameterDigests mine = digests_of_tensors(stream, tensors);
    const std::vector<std::string> totals = group.all_gather_text(hash_hex(std::as_bytes(std::span(mine))));
    if (std::ranges::all_of(totals, [&](const auto& other) { return other == totals[0]; })) return {};

    const std::vector<ParameterDigests> digests = gather_digests(group, mine);
    const std::vector<std::string> names = group.all_gather_text(me);
    const auto like = [&](const ParameterDigests& wanted) { return std::ranges::count(digests, wanted); };
    const ParameterDigests& common =
        *std::ranges::max_element(digests, {}, [&](const ParameterDigests& one) { return like(one); });
    const bool is_majority = 2 * like(common) > std::ssize(digests);
    std::vector<std::string> odd;
    std::size_t first = state.size(), rank = 0;
    for (std::size_t i = 0; i < digests.size(); ++i) {
        if (digests[i] != common && first_difference(common, digests[i]) < first) {
            first = first_difference(common, digests[i]);
            rank = i;
        }
        if (digests[i] != common || !is_majority) odd.push_back(names[i]);
    }
    const std::string place = text("first in ", state[first].name, ", whose hash is ",
                                   digest_text(digests[rank][first]), " on ", names[rank]);
    if (!is_majority)
        return text(listed(odd), " differ, ", place, " and ", digest_text(common[first]), " on ",
                    names[static_cast<std::size_t>(&common - digests.data())]);
    return text(listed(odd), odd.size() == 1 ? " differs" : " differ", " from the ", like(common),
                " others, ", place, " and ", digest_text(common[first]), " on those");
}

}  // namespace skein
