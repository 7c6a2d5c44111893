#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "model/base/error.h"
#include "model/tensor/stream.h"
#include "parallel/mpi_communicator.h"
#include "parallel/nccl_communicator.h"

namespace skein {

/// Where gradients lie in a test, and how they travel.
enum class GradientRoute { kCpu, kGpuThroughHost, kNccl };

inline std::ostream& operator<<(std::ostream& out, GradientRoute route) {
    return out << (route == GradientRoute::kCpu    ? "Cpu"
                   : route == GradientRoute::kNccl ? "Nccl"
                                                   : "GpuThroughHost");
}

/// Those that this program and machine have.
inline std::vector<GradientRoute> gradient_routes() {
    std::vector<GradientRoute> routes{GradientRoute::kCpu};
    if (find_gpus().count == 0) return routes;
    routes.push_back(GradientRoute::kGpuThroughHost);
    if (find_nccl().missing.empty()) routes.push_back(GradientRoute::kNccl);
    return routes;
}

inline Stream make_stream(GradientRoute route) {
    return route == GradientRoute::kCpu ? Stream(2) : Stream(Gpu{0}, 2);
}

/// None but for NCCL. All ranks use one GPU, so NCCL is to take them for different machines.
inline std::unique_ptr<Communicator> make_nccl(GradientRoute route, const MpiSession& session,
                                               Communicator& data, Stream& stream,
                                               const NcclOptions& options = {}) {
    if (route != GradientRoute::kNccl) return nullptr;
    setenv("NCCL_HOSTID", std::to_string(session.rank()).c_str(), 1);
    return make_nccl_communicator(session, data, stream, options);
}

/// For tests that wait it out: NCCL's own connection, which counts, takes up to some seconds.
inline double short_timeout() {
    return properties_of(Gpu{0}).name == "CUDA on the CPU" ? 0.05 : 10.0;
}

/// What run() throws; it must throw.
template <class Run>
std::string message_of(const Run& run) {
    try {
        run();
    } catch (const Error& error) {
        return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return {};
}

}  // namespace skein
