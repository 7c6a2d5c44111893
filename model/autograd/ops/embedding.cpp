#include "model/autograd/ops/embedding.h"

#include "model/base/error.h"
#include "model/kernels/embedding.h"
#include "model/kernels/work.h"

namespace skein {

Var embedding(const Var& table, const Var& positions, const Tensor& ids, float scale,
              const kernels::Dropout& dropout, const kernels::RowPlace& place, const TableIds& of_table) {
    Tape& tape = table.tape();
    const std::int64_t vocabulary = table.shape()[0], width = table.shape()[1], rows = ids.elements();
    if (positions) {
        check_shape("embedding", "positions", positions.shape(), {positions.shape()[0], width});
        if (place.first_position + place.positions > positions.shape()[0])
            throw ShapeError(text("embedding: position ", place.first_position + place.positions - 1,
                                  " is past the context of ", positions.shape()[0]));
    }
    const Tensor y = Tensor::empty(tape.stream(), table.value().dtype(), {rows, width});
    kernels::EmbeddingArgs args{.rows = rows, .width = width, .vocabulary = vocabulary};
    args.first_id = of_table.first;
    args.ids = ids.data<std::int32_t>();
    args.table = table.value().operand();
    if (positions) args.positions = positions.value().operand();
    args.scale = scale;
    args.dropout = dropout;
    args.place = place;
    args.y = y.operand();
    tape.stream().run(work_of(args), [&](auto& s) { kernels::embedding(s, args); });

    return tape.record(
        y, {table, positions},
        [table_node = NodeRef(table), positions_node = NodeRef(positions), ids, scale, dropout, place,
         of_table, vocabulary, context = positions ? positions.shape()[0] : 0](Tape& t, const Tensor& dy) {
            Tensor masked = dy;
            if (dropout) {
                masked = Tensor::empty(t.stream(), dy.dtype(), dy.shape());
                t.stream().run(
                    kernels::dropout_work(dy.shape()[0], dy.shape()[1], dy.operand(), masked.operand()),
                    [&](auto& s) {
                        kernels::apply_dropout(s, dropout, place, dy.shape()[0], dy.shape()[1], dy.operand(),
                                               masked.operand());
                    });
            }
            kernels::EmbeddingBackwardArgs back{
                .rows = dy.shape()[0], .width = dy.shape()[1], .vocabulary = vocabulary};
            back.first_id = of_table.first;
            back.ids_end = of_table.end;
            back.context = context;
            back.ids = ids.data<std::int32_t>();
            back.dy = masked.operand();
            back.scale = scale;
            back.place = place;
            if (t.needs_gradient(table_node)) {
                const GradientSlot slot = t.gradient_slot(table_node);
                back.dtable = slot.target.data<float>();
                back.accumulate_table = slot.accumulate;
            }
            if (t.needs_gradient(positions_node)) {
                const GradientSlot slot = t.gradient_slot(positions_node);
                back.dpositions = slot.target.data<float>();
                back.accumulate_positions = slot.accumulate;
            }
            t.stream().run(work_of(back), [&](auto& s) { kernels::embedding_backward(s, back); });
        });
}

}  // namespace skein
