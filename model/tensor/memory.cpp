#include "model/tensor/memory.h"

#include <cstring>

namespace skein {

void zero_memory(CpuStream&, void* to, std::size_t bytes) {
    std::memset(to, 0, bytes);
}

void copy_memory(CpuStream&, const void* from, void* to, std::size_t bytes) {
    std::memcpy(to, from, bytes);
}

void copy_rows(CpuStream&, const void* from, std::size_t from_stride, void* to, std::size_t to_stride,
               std::size_t bytes, std::size_t rows) {
    for (std::size_t row = 0; row < rows; ++row)
        std::memcpy(static_cast<std::byte*>(to) + row * to_stride,
                    static_cast<const std::byte*>(from) + row * from_stride, bytes);
}

void upload(CpuStream&, const void* host, void* to, std::size_t bytes) {
    std::memcpy(to, host, bytes);
}

void upload_input(CpuStream& stream, const void* host, void* to, std::size_t bytes) {
    upload(stream, host, to, bytes);
}

void start_download(CpuStream&, const void* from, void* host, std::size_t bytes) {
    std::memcpy(host, from, bytes);
}

}  // namespace skein
