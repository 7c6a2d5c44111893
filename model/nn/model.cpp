#include "model/nn/model.h"

#include "model/autograd/ops/matmul.h"
#include "model/tensor/memory.h"

namespace skein {

Tensor Model::logits(Stream& stream, const Tensor& hidden, const Parameter& table) const {
    const std::int64_t rows = hidden.shape()[0], ids = table.global_shape[0];
    const Tensor own = Tensor::empty(stream, DType::f32, {rows, table.leaf.value.shape()[0]});
    matmul(stream, {.b_transposed = true}, hidden, table.leaf.forward_value(), own);
    if (!sharing_.group) return own;
    std::vector<std::int64_t> counts;
    for (int part = 0; part < table.layout.parts; ++part)
        counts.push_back(rows * table.layout.of_part(part).local(table.global_shape)[0]);
    const Tensor blocks = sharing_.group->all_gather(stream, own, counts);
    const Tensor all = Tensor::empty(stream, DType::f32, {rows, ids});
    std::int64_t from = 0, column = 0;
    for (const std::int64_t count : counts) {
        const std::int64_t columns = count / rows;
        stream.run([&](auto& s) {
            const auto bytes = [](std::int64_t elements) {
                return static_cast<std::size_t>(elements) * sizeof(float);
            };
            copy_rows(s, blocks.data<float>() + from, bytes(columns), all.data<float>() + column, bytes(ids),
                      bytes(columns), static_cast<std::size_t>(rows));
        });
        from += count;
        column += columns;
    }
    return all;
}

}  // namespace skein
