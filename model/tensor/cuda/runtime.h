#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "model/tensor/device.h"

/// What skein asks of CUDA's runtime, each call one of CUDA's: the tests put a fake below it that runs on the
/// CPU. Streams and events are CUDA's handles without their type. All throw CudaError with CUDA's own words.
namespace skein::cuda {

GpuReport find_gpus();
/// "13.0": of this build.
std::string runtime_version();
GpuProperties properties_of(int device);
/// Makes `device` this thread's.
std::size_t free_memory(int device);

/// Makes `device` this thread's, and a stream on it that does not wait for the default one.
void* make_stream(int device);
void destroy_stream(void* stream) noexcept;
void synchronize(void* stream);

void* make_event();
/// One whose time can be asked for.
void* make_timing_event();
void destroy_event(void* event) noexcept;
void record(void* event, void* stream);
bool is_done(void* event);
void wait(void* event);
/// Of two timing events that are done.
double seconds_between(void* from, void* to);
/// What is queued on the stream from now on waits for the event.
void make_wait(void* stream, void* event);

/// Null where there is no memory.
std::byte* allocate(std::size_t bytes);
void release(std::byte* memory) noexcept;
/// Pinned memory of the host.
std::byte* allocate_host(std::size_t bytes);
void release_host(std::byte* memory) noexcept;

void zero(void* to, std::size_t bytes, void* stream);
void copy(const void* from, void* to, std::size_t bytes, void* stream);
void copy_rows(const void* from, std::size_t from_stride, void* to, std::size_t to_stride, std::size_t bytes,
               std::size_t rows, void* stream);
void copy_to_device(const void* host, void* to, std::size_t bytes, void* stream);
void copy_to_host(const void* from, void* host, std::size_t bytes, void* stream);

}  // namespace skein::cuda
