#include "tests/model/kernels/cuda/device/cudnn_attention.h"

#include <array>
#include <cmath>
#include <deque>
#include <optional>
#include <utility>

#include "tests/model/kernels/cuda/device/cudnn_descriptor.h"

namespace skein::test {
namespace {

using kernels::AttentionArgs;
using Sizes = std::vector<std::int64_t>;  // [batch, heads, rows, columns]

constexpr std::int64_t kQuery = 1, kKey = 2, kValue = 3, kOutput = 4, kLogSumExp = 5, kScale = 6, kMasked = 7,
                       kFirstVirtual = 100;

/// The operations of a graph, and what they read and write. Addresses stay as they are.
class Graph {
  public:
    const Descriptor& tensor(std::int64_t id, cudnnDataType_t type, const Sizes& sizes,
                             const Sizes& strides) {
        return add_tensor(id, type, sizes, strides, {});
    }
    /// A scalar in the host's memory.
    const Descriptor& scalar(std::int64_t id) {
        return add_tensor(id, CUDNN_DATA_FLOAT, {1, 1, 1, 1}, {1, 1, 1, 1}, CUDNN_ATTR_TENSOR_IS_BY_VALUE);
    }
    /// What exists inside the fused kernel alone.
    const Descriptor& inner(cudnnDataType_t type, const Sizes& sizes) {
        const Sizes strides{sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1};
        return add_tensor(next_virtual_++, type, sizes, strides, CUDNN_ATTR_TENSOR_IS_VIRTUAL);
    }

    void matmul(const Descriptor& a, const Descriptor& b, const Descriptor& c) {
        Descriptor& how = parts_.emplace_back(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
        how.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
        how.finalize("matmul");
        Descriptor& operation = operations_.emplace_back(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
        operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, how);
        operation.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
        operation.set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
        operation.set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
        operation.finalize("matmul operation");
    }

    /// y = x `mode` b, where t holds for a selection. `axis`: of an index that is generated.
    void pointwise(cudnnPointwiseMode_t mode, const Descriptor& x, const Descriptor* b, const Descriptor* t,
                   const Descriptor& y, cudnnDataType_t precision = CUDNN_DATA_FLOAT,
                   std::int64_t axis = -1) {
        Descriptor& how = parts_.emplace_back(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
        how.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode);
        how.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, precision);
        if (axis >= 0) how.set(CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, axis);
        how.finalize("pointwise");
        Descriptor& operation = operations_.emplace_back(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
        operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
        operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
        if (b) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
        if (t) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, *t);
        operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
        operation.finalize("pointwise operation");
    }

    /// Over the columns, which y has one of.
    void reduction(cudnnReduceTensorOp_t with, const Descriptor& x, const Descriptor& y) {
        Descriptor& how = parts_.emplace_back(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
        how.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, with);
        how.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
        how.finalize("reduction");
        Descriptor& operation = operations_.emplace_back(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
        operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, how);
        operation.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
        operation.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
        operation.finalize("reduction operation");
    }

    Descriptor finalized() const {
        std::vector<cudnnBackendDescriptor_t> operations;
        for (const Descriptor& operation : operations_) operations.push_back(operation.get());
        Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
        graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                  static_cast<std::int64_t>(operations.size()), operations.data());
        graph.finalize("operation graph");
        return graph;
    }

  private:
    const Descriptor& add_tensor(std::int64_t id, cudnnDataType_t type, const Sizes& sizes,
                                 const Sizes& strides, std::optional<cudnnBackendAttributeName_t> kind) {
        const std::int64_t alignment = 16;
        Descriptor& tensor = parts_.emplace_back(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
        tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, id);
        tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type);
        tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, alignment);
        tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, sizes);
        tensor.set(CUDNN_ATTR_TENSOR_STRIDES, strides);
        if (kind) tensor.set(*kind, CUDNN_TYPE_BOOLEAN, true);
        tensor.finalize("tensor");
        return tensor;
    }

    std::deque<Descriptor> parts_, operations_;
    std::int64_t next_virtual_ = kFirstVirtual;
};

void check_supported(const AttentionArgs& args) {
    if (args.query.dtype != DType::bf16 && args.query.dtype != DType::f16)
        throw ShapeError("cuDNN's attention: wanted bf16 or f16");
    if (!args.log_sum_exp)
        throw ShapeError(
            "cuDNN's attention: log_sum_exp is null, and the graph is that of training, which gives it");
    if (args.key_value_heads != args.heads || args.key_lengths || args.query_lengths || args.bias ||
        args.rotary_cos || args.dropout || args.query_offset != 0)
        throw ShapeError(
            "cuDNN's attention: groups, lengths, bias, rotation, dropout and offsets are not in its graph");
}

Graph attention_graph(const AttentionArgs& args) {
    const std::int64_t batch = args.batch, heads = args.heads, rows = args.query_length,
                       keys = args.key_length, width = args.head_width;
    const cudnnDataType_t type = args.query.dtype == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
    const Sizes score_sizes{batch, heads, rows, keys}, row_sizes{batch, heads, rows, 1};
    Graph graph;
    const auto scores = [&] { return &graph.inner(CUDNN_DATA_FLOAT, score_sizes); };
    const auto of_rows = [&] { return &graph.inner(CUDNN_DATA_FLOAT, row_sizes); };

    // scores = scale · query · keyᵀ
    const Descriptor& query = graph.tensor(kQuery, type, {batch, heads, rows, width},
                                           {rows * args.query_stride, width, args.query_stride, 1});
    const Descriptor& key = graph.tensor(kKey, type, {batch, heads, width, keys},
                                         {keys * args.key_stride, width, 1, args.key_stride});
    const Descriptor* product = scores();
    graph.matmul(query, key, *product);
    const Descriptor* score = scores();
    graph.pointwise(CUDNN_POINTWISE_MUL, *product, &graph.scalar(kScale), nullptr, *score);
    if (args.causal) {
        const Descriptor &row = graph.inner(CUDNN_DATA_INT32, score_sizes),
                         &column = graph.inner(CUDNN_DATA_INT32, score_sizes),
                         &sees = graph.inner(CUDNN_DATA_BOOLEAN, score_sizes);
        graph.pointwise(CUDNN_POINTWISE_GEN_INDEX, *score, nullptr, nullptr, row, CUDNN_DATA_FLOAT, 2);
        graph.pointwise(CUDNN_POINTWISE_GEN_INDEX, *score, nullptr, nullptr, column, CUDNN_DATA_FLOAT, 3);
        graph.pointwise(CUDNN_POINTWISE_CMP_GE, row, &column, nullptr, sees, CUDNN_DATA_BOOLEAN);
        const Descriptor* masked = scores();
        graph.pointwise(CUDNN_POINTWISE_BINARY_SELECT, *score, &graph.scalar(kMasked), &sees, *masked);
        score = masked;
    }

    // probability = exp(score - largest) / sum
    const Descriptor *largest = of_rows(), *sum = of_rows(), *below = scores(), *power = scores();
    graph.reduction(CUDNN_REDUCE_TENSOR_MAX, *score, *largest);
    graph.pointwise(CUDNN_POINTWISE_SUB, *score, largest, nullptr, *below);
    graph.pointwise(CUDNN_POINTWISE_EXP, *below, nullptr, nullptr, *power);
    graph.reduction(CUDNN_REDUCE_TENSOR_ADD, *power, *sum);
    const Descriptor* logarithm = of_rows();
    graph.pointwise(CUDNN_POINTWISE_LOG, *sum, nullptr, nullptr, *logarithm);
    graph.pointwise(CUDNN_POINTWISE_ADD, *largest, logarithm, nullptr,
                    graph.tensor(kLogSumExp, CUDNN_DATA_FLOAT, row_sizes, {heads * rows, rows, 1, 1}));
    const Descriptor& probability = graph.inner(type, score_sizes);
    graph.pointwise(CUDNN_POINTWISE_DIV, *power, sum, nullptr, probability);

    // output = probability · value
    const Descriptor& value = graph.tensor(kValue, type, {batch, heads, keys, width},
                                           {keys * args.value_stride, width, args.value_stride, 1});
    const Descriptor& output = graph.tensor(kOutput, type, {batch, heads, rows, width},
                                            {rows * args.output_stride, width, args.output_stride, 1});
    graph.matmul(probability, value, output);
    return graph;
}

Descriptor device_of(const std::string& json) {
    Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    if (json.empty()) {
        device.set(CUDNN_ATTR_DEVICEPROP_DEVICE_ID, CUDNN_TYPE_INT32, std::int32_t{0});
    } else {
        device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                   static_cast<std::int64_t>(json.size()), json.data());
    }
    device.finalize("device properties");
    return device;
}

/// What cuDNN's heuristic proposes, best first.
std::deque<Descriptor> proposals(const Descriptor& graph, const Descriptor& device) {
    Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, CUDNN_HEUR_MODE_A);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device);
    heuristic.finalize("engine heuristic");
    std::int64_t count =
        heuristic.read(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
    std::deque<Descriptor> engines;
    std::vector<cudnnBackendDescriptor_t> filled;
    for (std::int64_t i = 0; i < count; ++i)
        filled.push_back(engines.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
    count =
        heuristic.read(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, filled.data());
    while (static_cast<std::int64_t>(engines.size()) > count) engines.pop_back();
    return engines;
}

bool has_note(const Descriptor& configuration, cudnnBackendNumericalNote_t wanted) {
    const Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendDescriptor_t filled = engine.get();
    configuration.read(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &filled);
    std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
    const std::int64_t count = engine.read(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                           CUDNN_NUMERICAL_NOTE_TYPE_COUNT, notes.data());
    for (std::int64_t i = 0; i < count; ++i)
        if (notes[static_cast<std::size_t>(i)] == wanted) return true;
    return false;
}

struct LibraryTraits {
    using Value = cudnnHandle_t;
    static Value none() noexcept { return nullptr; }
    static void release(Value value) noexcept { cudnnDestroy(value); }
};

}  // namespace

struct CudnnAttention::State {
    Graph graph;
    Descriptor device, finalized;
    std::optional<Descriptor> plan;
    bool nondeterministic = false;
    Handle<LibraryTraits> library;
};

CudnnAttention::CudnnAttention(const AttentionArgs& args, const std::string& device) {
    check_supported(args);
    Graph graph = attention_graph(args);
    Descriptor finalized = graph.finalized();
    state_ = std::make_unique<State>(
        State{std::move(graph), device_of(device), std::move(finalized), {}, false, {}});
    std::string refused = "nothing is proposed";
    for (const Descriptor& configuration : proposals(state_->finalized, state_->device)) {
        state_->nondeterministic = has_note(configuration, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
        try {
            Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
            plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
            plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, state_->device);
            plan.finalize("execution plan");
            state_->plan = std::move(plan);
            return;
        } catch (const CudaError& error) {
            refused = error.what();
        }
    }
    throw CudaError(text("cuDNN has no plan for attention: ", refused));
}

CudnnAttention::~CudnnAttention() = default;

std::size_t CudnnAttention::workspace_bytes() const {
    std::int64_t bytes = 0;
    state_->plan->read(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &bytes);
    return static_cast<std::size_t>(bytes);
}

bool CudnnAttention::is_nondeterministic() const {
    return state_->nondeterministic;
}

void CudnnAttention::run(CudaStream& stream, const AttentionArgs& args, void* workspace) {
    if (!state_->library) {
        cudnnHandle_t library = nullptr;
        check_cudnn(cudnnCreate(&library), "cudnnCreate");
        state_->library = Handle<LibraryTraits>(library);
    }
    check_cudnn(cudnnSetStream(state_->library.get(), static_cast<cudaStream_t>(stream.handle)),
                "cudnnSetStream");
    float scale = args.scale, masked = -INFINITY;
    std::vector<std::int64_t> ids{kQuery, kKey, kValue, kOutput, kLogSumExp, kScale};
    std::vector<void*> places{const_cast<void*>(args.query.data),
                              const_cast<void*>(args.key.data),
                              const_cast<void*>(args.value.data),
                              args.output.data,
                              args.log_sum_exp,
                              &scale};
    if (args.causal) ids.push_back(kMasked), places.push_back(&masked);
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids);
    pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
             static_cast<std::int64_t>(places.size()), places.data());
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace);
    pack.finalize("variant pack");
    check_cudnn(cudnnBackendExecute(state_->library.get(), state_->plan->get(), pack.get()),
                "cudnnBackendExecute");
}

std::size_t cudnn_version() {
    return cudnnGetVersion();
}

}  // namespace skein::test
