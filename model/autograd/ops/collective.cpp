#include "model/autograd/ops/collective.h"

#include "model/autograd/ops/recompute.h"
#include "model/tensor/memory.h"

namespace skein {

Var copy_to_group(TensorGroup& group, const Var& x) {
    return x.tape().record(x.value(), {x}, [&group, x_node = NodeRef(x)](Tape& t, const Tensor& dy) {
        if (!t.needs_gradient(x_node)) return;
        Tensor sum = dy;
        if (dy.shared()) {  // with another node, which has not read it yet
            sum = Tensor::empty(t.stream(), dy.dtype(), dy.shape());
            t.stream().run(copy_work(dy.bytes()),
                           [&](auto& s) { copy_memory(s, dy.raw(), sum.raw(), dy.bytes()); });
        }
        group.all_reduce(t.stream(), sum);
        t.pass_gradient(x_node, sum);
    });
}

Var sum_over_group(TensorGroup& group, const Var& x) {
    group.all_reduce(x.tape().stream(), x.value());
    return as_one_use(x);
}

Var gather_from_group(TensorGroup& group, const Var& slice, std::int64_t rows) {
    Tape& tape = slice.tape();
    return tape.record(group.all_gather_rows(tape.stream(), slice.value(), rows), {slice},
                       [&group, slice_node = NodeRef(slice)](Tape& t, const Tensor& dy) {
                           if (t.needs_gradient(slice_node))
                               t.pass_gradient(slice_node, group.reduce_scatter_rows(t.stream(), dy));
                       });
}

Var scatter_sum_to_group(TensorGroup& group, const Var& x) {
    Tape& tape = x.tape();
    return tape.record(group.reduce_scatter_rows(tape.stream(), x.value()), {x},
                       [&group, x_node = NodeRef(x), rows = x.shape()[0]](Tape& t, const Tensor& dy) {
                           if (t.needs_gradient(x_node))
                               t.pass_gradient(x_node, group.all_gather_rows(t.stream(), dy, rows));
                       });
}

}  // namespace skein
