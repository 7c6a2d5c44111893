#include "checkpoint/state_hash.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "checkpoint/state_tensor.h"
#include "model/base/error.h"
#include "model/base/hash.h"

namespace skein {
namespace {

std::string lines_of(std::span<const TensorDigest> tensors, bool parameters) {
    std::vector<const TensorDigest*> sorted;
    for (const TensorDigest& tensor : tensors)
        if (tensor.name.starts_with(kParametersPrefix) == parameters) sorted.push_back(&tensor);
    std::sort(sorted.begin(), sorted.end(), [](auto a, auto b) { return a->name < b->name; });
    std::string out;
    for (const TensorDigest* tensor : sorted) {
        out += text(tensor->name.substr(parameters ? kParametersPrefix.size() : 0), "\t",
                    name_of(tensor->dtype), "\t");
        for (int axis = 0; axis < tensor->shape.rank(); ++axis)
            out += text(axis == 0 ? "" : ",", tensor->shape[axis]);
        out += text("\t", tensor->hash, "\n");
    }
    return out;
}

}  // namespace

std::string parameters_hash(std::span<const TensorDigest> tensors) {
    return hash_hex(lines_of(tensors, true));
}

std::string state_hash(std::span<const TensorDigest> tensors, const RunState& run) {
    char scale[64];
    std::snprintf(scale, sizeof scale, "%a", run.loss_scale.scale);
    return hash_hex(lines_of(tensors, false) + text("updates\t", run.updates, "\nplace\t", run.place.epoch,
                                                    "\t", run.place.window, "\t", run.place.samples,
                                                    "\nloss_scale\t", scale, "\t", run.loss_scale.good_steps,
                                                    "\t", run.loss_scale.overflows, "\n"));
}

}  // namespace skein
