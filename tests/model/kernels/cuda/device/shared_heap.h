#pragma once

namespace skein::test {

/// From now on operator new gives memory of the host's that the GPU reaches at the same addresses, in this
/// whole program: a test's vectors are operands of kernels as they are. What was allocated before stays where
/// it is. Without it the program runs on, with ordinary memory. To compute-sanitizer all of it is one
/// allocation: what reads past a vector is found on the shim, by AddressSanitizer. Throws CudaError.
void start_shared_heap();

}  // namespace skein::test
