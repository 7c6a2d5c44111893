#pragma once

#include <optional>

#include "model/tensor/communicator.h"
#include "model/tensor/device.h"
#include "trainer/config.h"

namespace skein {

/// Bytes a second, read and written together: the fastest of several copies from one place in the device's
/// memory to another. On the CPU 256 MiB, a part by each thread; on a GPU 1 GiB, or an eighth of the memory
/// that is free. Of this rank, while all ranks copy. Collective.
double copy_rate(const std::optional<Gpu>& gpu, int threads, Communicator& world);

/// Floating-point operations a second: the fastest of several products of square matrices of random values in
/// the precision, by the library that training uses. Their size is doubled from 256 on until a product takes
/// 2 ms, up to 8192. Of this rank, while all ranks multiply. Collective.
double product_rate(Gpu gpu, Precision precision, Communicator& world);

}  // namespace skein
