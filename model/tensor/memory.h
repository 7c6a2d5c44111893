#pragma once

#include <cstddef>

#include "model/tensor/cpu_stream.h"
#include "model/tensor/work_meter.h"

/// What moves bytes, for each device. On a GPU all but download is queued on its stream.
namespace skein {

struct CudaStream;

void zero_memory(CpuStream& stream, void* to, std::size_t bytes);
void zero_memory(CudaStream& stream, void* to, std::size_t bytes);

/// From one place on the device to another; they do not overlap.
void copy_memory(CpuStream& stream, const void* from, void* to, std::size_t bytes);
void copy_memory(CudaStream& stream, const void* from, void* to, std::size_t bytes);

/// For Stream::run.
inline Work zero_work(std::size_t bytes) {
    return {"zero", static_cast<double>(bytes)};
}
inline Work copy_work(std::size_t bytes) {
    return {"copy", 2.0 * static_cast<double>(bytes)};
}

/// `rows` times `bytes`, `from_stride` and `to_stride` bytes apart.
void copy_rows(CpuStream& stream, const void* from, std::size_t from_stride, void* to, std::size_t to_stride,
               std::size_t bytes, std::size_t rows);
void copy_rows(CudaStream& stream, const void* from, std::size_t from_stride, void* to, std::size_t to_stride,
               std::size_t bytes, std::size_t rows);

/// From the host to the device. The host's bytes may be changed once it returns.
void upload(CpuStream& stream, const void* host, void* to, std::size_t bytes);
void upload(CudaStream& stream, const void* host, void* to, std::size_t bytes);

/// The same, to memory of the stream's input pool: on a GPU the copy goes ahead of the work that is queued,
/// and what is queued from now on waits for it.
void upload_input(CpuStream& stream, const void* host, void* to, std::size_t bytes);
void upload_input(CudaStream& stream, const void* host, void* to, std::size_t bytes);

/// From the device to the host's memory. Queued only: the bytes are there when an event that is recorded
/// behind it is done. `host` is pinned, or the call waits.
void start_download(CpuStream& stream, const void* from, void* host, std::size_t bytes);
void start_download(CudaStream& stream, const void* from, void* host, std::size_t bytes);

}  // namespace skein
