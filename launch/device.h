#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/ranks.h"
#include "model/tensor/device.h"

namespace skein {

/// What a rank has found.
struct RankGpus {
    std::string host;
    GpuReport gpus;
};

/// Where all ranks compute.
struct DeviceChoice {
    Device device = Device::cpu;
    std::string line;  ///< what is to be said of it once; may be empty
};

/// For --device `asked` (cpu, cuda or auto): on GPUs if every rank has one. Throws CudaError when cuda was
/// asked for and a rank has none, saying what is missing.
DeviceChoice choose_device(const std::string& asked, const std::vector<RankGpus>& ranks);

/// The same, asking all ranks, and this rank's GPU if it is to have one (gpu_binding.h); rank 0 says the line
/// on standard error. Collective; throws on all ranks or on none.
std::optional<Gpu> device_of_a_rank(const std::string& asked, Ranks& ranks);
/// Of a command that runs on one rank; `command` names it in the line.
std::optional<Gpu> device_of_this_process(const std::string& asked, const std::string& command);

}  // namespace skein
