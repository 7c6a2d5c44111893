#include "checkpoint/state_tensor.h"

#include "model/base/error.h"

namespace skein {

void StateTensor::add_run(const Layout& layout, std::int64_t begin, std::int64_t end,
                          std::span<std::byte> bytes) {
    const std::size_t element = size_of(dtype), wanted = static_cast<std::size_t>(end - begin) * element;
    if (bytes.size() != wanted)
        throw CheckpointError(text(name, " has ", bytes.size(), " bytes, wanted ", wanted));
    std::size_t at = 0;
    for (const Box& box : boxes_of_run(Box::of(layout, global_shape), begin, end)) {
        const std::size_t count = static_cast<std::size_t>(box.elements()) * element;
        parts.push_back({box, bytes.subspan(at, count)});
        at += count;
    }
}

std::string fault_of_parts(const StateTensor& tensor) {
    const Box whole = Box::whole(tensor.global_shape);
    for (const StateTensor::Part& part : tensor.parts) {
        if (!contains(whole, part.box))
            return text(tensor.name, " has a part of ", part.box.count, " at ", part.box.start,
                        ", wanted it within ", tensor.global_shape);
        const std::size_t wanted = static_cast<std::size_t>(part.box.elements()) * size_of(tensor.dtype);
        if (part.bytes.size() != wanted)
            return text(tensor.name, " has ", part.bytes.size(), " bytes, wanted ", wanted);
    }
    return {};
}

void StateTensor::add(const Layout& layout, std::span<std::byte> bytes) {
    add_run(layout, 0, layout.local(global_shape).elements(), bytes);
}

}  // namespace skein
