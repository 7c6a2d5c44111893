#pragma once

#include <cstdint>
#include <span>

#include "model/kernels/attention.h"
#include "model/kernels/cross_entropy.h"
#include "model/kernels/elementwise.h"
#include "model/kernels/embedding.h"
#include "model/kernels/gather_rows.h"
#include "model/kernels/gemm.h"
#include "model/kernels/layer_norm.h"
#include "model/kernels/sum_parts.h"
#include "model/kernels/update.h"
#include "model/tensor/work_meter.h"

/// What each kernel must move and compute, whatever implements it: for Stream::run, and from there for
/// `skein bench --by-kernel`. Bytes are those of the arguments, each input read once and each output written
/// once (what is added to is read as well), as if nothing were kept outside memory. FLOPs of products are 2
/// for each multiplication with its addition; elsewhere they are the operations of the formula that the
/// kernel's header has, a function (exp, a root) counted as one. What is known on the device alone is not
/// counted: lengths of padded samples (they count as full), which rows of a table are named twice.
namespace skein::kernels {

enum class ProductOf { kLayer, kOutputHead };

/// Named by what a linear layer wants of it: x · wᵀ is "forward", dy · w "dgrad" (of its input), dyᵀ · x
/// "wgrad" (of its weight).
Work work_of(const GemmArgs& args, ProductOf of = ProductOf::kLayer);

/// Of causal attention only the pairs of query and key that see each other. Backward is 5 products of a pair,
/// the scores taken a second time among them; forward 2.
Work work_of(const AttentionArgs& args);
Work work_of(const AttentionBackwardArgs& args);

Work work_of(const LayerNormArgs& args);
Work work_of(const LayerNormBackwardArgs& args);

Work work_of(const EmbeddingArgs& args);
Work work_of(const EmbeddingBackwardArgs& args);

/// In one piece.
Work work_of(const CrossEntropyArgs& args);
/// The calls of a vocabulary that is split; each reads the logits.
Work parts_work(const CrossEntropyArgs& args);
Work sums_work(const CrossEntropyArgs& args);
Work of_parts_work(const CrossEntropyArgs& args);
/// Of values of 8 bytes.
Work sum_samples_work(std::int64_t samples, std::int64_t length);

/// "copy", "convert" or "add".
Work copy_or_add_work(ConstOperand source, ConstOperand target, std::int64_t count, bool accumulate);
Work dropout_work(std::int64_t rows, std::int64_t width, ConstOperand x, ConstOperand y,
                  bool accumulate = false);
Work column_sums_work(std::int64_t rows, std::int64_t width, ConstOperand x, bool accumulate);
Work work_of(const SumPartsArgs& args);
Work work_of(const GatherRowsArgs& args);

/// Of the tensors that the kernels' list names; `copies` as AdamList has it.
Work square_sums_work(std::span<const AdamTensor> tensors);
Work adam_work(std::span<const AdamTensor> tensors, DType copies);
Work take_work(std::span<const AdamTensor> tensors, DType copies);
Work work_of(const EndStepArgs& args);

}  // namespace skein::kernels
