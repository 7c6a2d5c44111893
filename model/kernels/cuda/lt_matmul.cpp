// The one place that knows cuBLASLt.
//
// Determinism. NVIDIA's documentation ("Results reproducibility") gives the same bits at every run for one
// version of the library on GPUs of one architecture with the same number of multiprocessors, except where
// streams share a workspace: so a stream keeps its own handle and workspace. And the same algorithm must run
// each time:
//   - nothing is timed. The first answer of the library's heuristic is taken: a function of the product, the
//     preferences below, the library's version and the GPU, none of which changes in a run. Alignments are
//     part of the product;
//   - k may be cut into parts only where the parts are kept in fp32 in the workspace and added by a step of
//   its
//     own (COMPUTE_TYPE). Not in place, where parts are added to the output as they come, and not in the type
//     of the output, which rounds each part to 16 bits. "No reduction" is always allowed.
#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <utility>

#include "model/base/error.h"
#include "model/base/handle.h"
#include "model/kernels/cuda/lt_product.h"

namespace skein::kernels::cuda {
namespace {

constexpr std::uint64_t kWorkspaceBytes = 32u << 20;  // what NVIDIA recommends from Hopper on

void check(cublasStatus_t status, const char* call, const LtProduct& product) {
    if (status != CUBLAS_STATUS_SUCCESS)
        throw CudaError(text(call, ": ", cublasLtGetStatusString(status), ", for ", text_of(product)));
}

template <class T, cublasStatus_t (*kDestroy)(T)>
struct HandleTraits {
    using Value = T;
    static Value none() noexcept { return nullptr; }
    static void release(Value value) noexcept { kDestroy(value); }
};
using Library = Handle<HandleTraits<cublasLtHandle_t, cublasLtDestroy>>;
using Operation = Handle<HandleTraits<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>>;
using Layout = Handle<HandleTraits<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>>;
using Preference = Handle<HandleTraits<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>>;

struct DeviceMemoryTraits {
    using Value = void*;
    static Value none() noexcept { return nullptr; }
    static void release(Value value) noexcept { cudaFree(value); }
};
using DeviceMemory = Handle<DeviceMemoryTraits>;

cudaDataType_t type_of(DType dtype) {
    if (dtype == DType::bf16) return CUDA_R_16BF;
    if (dtype == DType::f16) return CUDA_R_16F;
    return CUDA_R_32F;
}

Layout layout_of(const LtMatrix& matrix, const LtProduct& product) {
    cublasLtMatrixLayout_t layout = nullptr;
    check(cublasLtMatrixLayoutCreate(&layout, type_of(matrix.dtype), static_cast<std::uint64_t>(matrix.rows),
                                     static_cast<std::uint64_t>(matrix.columns), matrix.leading),
          "cublasLtMatrixLayoutCreate", product);
    return Layout(layout);
}

/// A product's descriptors and the algorithm that runs it.
struct Choice {
    Operation operation;
    Layout a, b, c;
    cublasLtMatmulAlgo_t algorithm{};
};

Operation operation_of(const LtProduct& product) {
    cublasLtMatmulDesc_t description = nullptr;
    const bool tf32 = product.compute == LtCompute::kTf32;
    check(cublasLtMatmulDescCreate(&description, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                                   CUDA_R_32F),
          "cublasLtMatmulDescCreate", product);
    Operation operation(description);
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, bool transpose) {
        const cublasOperation_t how = transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
        check(cublasLtMatmulDescSetAttribute(description, attribute, &how, sizeof how),
              "cublasLtMatmulDescSetAttribute", product);
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, product.transpose_a);
    set(CUBLASLT_MATMUL_DESC_TRANSB, product.transpose_b);
    return operation;
}

Preference preference_for(const LtProduct& product) {
    cublasLtMatmulPreference_t created = nullptr;
    check(cublasLtMatmulPreferenceCreate(&created), "cublasLtMatmulPreferenceCreate", product);
    Preference preference(created);
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
        check(cublasLtMatmulPreferenceSetAttribute(created, attribute, &value, sizeof value),
              "cublasLtMatmulPreferenceSetAttribute", product);
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(product.a.alignment));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(product.b.alignment));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(product.c.alignment));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(product.c.alignment));
    return preference;
}

/// What a stream keeps. Every product of a shape after its first costs a look-up and the launch.
class Products {
  public:
    explicit Products(const LtProduct& first) {
        cublasLtHandle_t library = nullptr;
        check(cublasLtCreate(&library), "cublasLtCreate", first);
        library_ = Library(library);
        void* workspace = nullptr;
        if (const cudaError_t status = cudaMalloc(&workspace, kWorkspaceBytes); status != cudaSuccess)
            throw CudaError(text("cudaMalloc of ", kWorkspaceBytes,
                                 " bytes for matrix products: ", cudaGetErrorString(status)));
        workspace_ = DeviceMemory(workspace);
    }

    void run(cudaStream_t stream, const LtCall& call) {
        const LtProduct& product = call.product;
        auto found = choices_.find(product);
        if (found == choices_.end()) found = choices_.emplace(product, choose(product)).first;
        const Choice& choice = found->second;
        const float alpha = 1.0f, beta = product.accumulate ? 1.0f : 0.0f;
        check(cublasLtMatmul(library_.get(), choice.operation.get(), &alpha, call.a, choice.a.get(), call.b,
                             choice.b.get(), &beta, call.c, choice.c.get(), call.c, choice.c.get(),
                             &choice.algorithm, workspace_.get(), kWorkspaceBytes, stream),
              "cublasLtMatmul", product);
    }

  private:
    Choice choose(const LtProduct& product) const {
        Choice choice{operation_of(product), layout_of(product.a, product), layout_of(product.b, product),
                      layout_of(product.c, product)};
        choice.algorithm =
            ask_library(product, choice);  // a table of measured algorithms would come before it
        return choice;
    }

    cublasLtMatmulAlgo_t ask_library(const LtProduct& product, const Choice& choice) const {
        const Preference preference = preference_for(product);
        cublasLtMatmulHeuristicResult_t best{};
        int count = 0;
        check(cublasLtMatmulAlgoGetHeuristic(library_.get(), choice.operation.get(), choice.a.get(),
                                             choice.b.get(), choice.c.get(), choice.c.get(), preference.get(),
                                             1, &best, &count),
              "cublasLtMatmulAlgoGetHeuristic", product);
        if (count < 1) throw CudaError(text("cuBLASLt has no algorithm for ", text_of(product)));
        check(best.state, "cublasLtMatmulAlgoGetHeuristic", product);
        return best.algo;
    }

    // released from the last to the first: the library last
    Library library_;
    DeviceMemory workspace_;
    std::map<LtProduct, Choice> choices_;
};

}  // namespace

void lt_matmul(CudaStream& stream, const LtCall& call) {
    if (!stream.matmul_library) stream.matmul_library = std::make_shared<Products>(call.product);
    static_cast<Products*>(stream.matmul_library.get())->run(static_cast<cudaStream_t>(stream.handle), call);
}

std::string lt_version() {
    const std::size_t version = cublasLtGetVersion();  // major · 10000 + minor · 100 + patch
    return text("cuBLASLt ", version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace skein::kernels::cuda
