#pragma once

#include <cudnn.h>

#include <cstdint>
#include <vector>

#include "model/base/error.h"
#include "model/base/handle.h"

namespace skein::test {

inline void check_cudnn(cudnnStatus_t status, const char* call) {
    if (status == CUDNN_STATUS_SUCCESS) return;
    char detail[512] = "";
    cudnnGetLastErrorString(detail, sizeof detail);
    throw CudaError(text(call, ": ", cudnnGetErrorString(status), " ", detail));
}

/// One object of cuDNN's backend: made, given its attributes, and finalized.
class Descriptor {
  public:
    explicit Descriptor(cudnnBackendDescriptorType_t type) {
        cudnnBackendDescriptor_t created = nullptr;
        check_cudnn(cudnnBackendCreateDescriptor(type, &created), "cudnnBackendCreateDescriptor");
        handle_ = Handle<Traits>(created);
    }

    void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
             const void* values) {
        check_cudnn(cudnnBackendSetAttribute(get(), name, type, count, values), "cudnnBackendSetAttribute");
    }
    template <class T>
    void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
        set(name, type, 1, &value);
    }
    void set(cudnnBackendAttributeName_t name, const Descriptor& value) {
        set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, value.get());
    }
    void set(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values) {
        set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
    }
    void finalize(const char* what) { check_cudnn(cudnnBackendFinalize(get()), what); }

    /// How many of `most` there were.
    std::int64_t read(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t most,
                      void* values) const {
        std::int64_t count = 0;
        check_cudnn(cudnnBackendGetAttribute(get(), name, type, most, &count, values),
                    "cudnnBackendGetAttribute");
        return count;
    }
    cudnnBackendDescriptor_t get() const { return handle_.get(); }

  private:
    struct Traits {
        using Value = cudnnBackendDescriptor_t;
        static Value none() noexcept { return nullptr; }
        static void release(Value value) noexcept { cudnnBackendDestroyDescriptor(value); }
    };
    Handle<Traits> handle_;
};

}  // namespace skein::test
