#include "parallel/nccl_communicator.h"

#include "model/base/error.h"

namespace skein {

NcclReport find_nccl() {
    return {"", "this build has no CUDA"};
}

std::string place_of(Gpu) {
    return {};
}

std::unique_ptr<Communicator> make_nccl_communicator(const MpiSession&, Communicator&, Stream&,
                                                     const NcclOptions&) {
    throw CudaError("NCCL: this build has no CUDA");
}

}  // namespace skein
