#include "trainer/parameter_digest.h"

#include <algorithm>
#include <cstdio>
#include <span>
#include <utility>

#include "model/base/hash.h"
#include "model/kernels/digest.h"
#include "model/tensor/communicator.h"

namespace skein {
namespace {

/// How a rank's part lies in the whole: row-major [outer, extent, inner], split along the extent.
kernels::DigestArgs args_of(const Parameter& parameter) {
    const Tensor& value = parameter.leaf.forward_value();
    kernels::DigestArgs args;
    args.x = value.operand();
    args.count = args.run = args.stride = value.elements();
    const Layout& layout = parameter.layout;
    if (!layout.is_split()) return args;
    const Shape& shape = parameter.global_shape;
    std::int64_t inner = 1;
    for (int axis = layout.axis + 1; axis < shape.rank(); ++axis) inner *= shape[axis];
    args.first = layout.begin(shape) * inner;
    args.run = (layout.end(shape) - layout.begin(shape)) * inner;
    args.stride = shape[layout.axis] * inner;
    return args;
}

ParameterDigests digests_of(Stream& stream, std::vector<kernels::DigestArgs> all) {
    const Tensor sums = Tensor::zeros(stream, DType::i64, {std::ssize(all)});
    auto* next = reinterpret_cast<std::uint64_t*>(sums.data<std::int64_t>());
    for (kernels::DigestArgs& args : all) {
        args.sum = next++;
        if (args.count > 0) stream.run([&](auto& s) { kernels::digest(s, args); });
    }
    const Tensor found = on_host(stream, sums);
    ParameterDigests digests;
    for (const std::int64_t sum : found.span<std::int64_t>())
        digests.push_back(static_cast<std::uint64_t>(sum));
    return digests;
}

}  // namespace

ParameterDigests digests_of_parts(Stream& stream, const ParameterList& parameters) {
    std::vector<kernels::DigestArgs> all;
    for (std::size_t i = 0; i < parameters.size(); ++i) all.push_back(args_of(parameters[i]));
    return digests_of(stream, std::move(all));
}

ParameterDigests digests_of_tensors(Stream& stream, std::span<const Tensor> tensors) {
    std::vector<kernels::DigestArgs> all;
    for (const Tensor& tensor : tensors) {
        kernels::DigestArgs& args = all.emplace_back();
        args.x = tensor.operand();
        args.count = args.run = args.stride = tensor.elements();
    }
    return digests_of(stream, std::move(all));
}

std::vector<ParameterDigests> gather_digests(Communicator& group, const ParameterDigests& mine) {
    std::vector<ParameterDigests> all(static_cast<std::size_t>(group.size()), ParameterDigests(mine.size()));
    std::vector<std::span<std::byte>> receive;
    for (ParameterDigests& of_rank : all) receive.push_back(std::as_writable_bytes(std::span(of_rank)));
    group.all_gather(std::as_bytes(std::span(mine)), receive);
    return all;
}

ParameterDigests digests_of_wholes(const ParameterList& parameters, ParameterDigests of_parts,
                                   Communicator* tensor) {
    if (!tensor || tensor->size() == 1) return of_parts;
    const std::vector<ParameterDigests> all = gather_digests(*tensor, of_parts);
    for (std::size_t i = 0; i < of_parts.size(); ++i) {
        if (!parameters[i].layout.is_split()) continue;  // each rank has all of it
        of_parts[i] = 0;
        for (const ParameterDigests& of_rank : all) of_parts[i] += of_rank[i];
    }
    return of_parts;
}

std::string digest_text(std::uint64_t digest) {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(digest));
    return digits;
}

std::string digest_of_all(const ParameterList& parameters, const ParameterDigests& digests) {
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < digests.size(); ++i)
        lines.push_back(parameters[i].name + "\t" + digest_text(digests[i]) + "\n");
    std::sort(lines.begin(), lines.end());
    StreamingHash hash;
    for (const std::string& line : lines) hash.update(line);
    return hash.hex();
}

}  // namespace skein
