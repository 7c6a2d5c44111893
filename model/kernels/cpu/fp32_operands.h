#pragma once

#include <array>
#include <cstdint>

#include "model/tensor/operand.h"
#include "model/tensor/stream.h"

namespace skein::kernels {

/// to = from, elementwise; exact but for NaN's payload.
void widen(CpuStream& stream, ConstOperand from, float* to, std::int64_t count);
/// to = from, rounded to nearest, ties to even. `to` is of 16 bits.
void narrow(CpuStream& stream, const float* from, Operand to, std::int64_t count);
/// The same on the calling thread alone.
void narrow(const float* from, Operand to, std::int64_t count);

/// How the CPU, which has no 16-bit arithmetic, runs a kernel on 16-bit operands: those that are read are
/// widened into scratch, the fp32 kernel runs, and what it wrote is rounded. An operand that is fp32, or
/// null, stands for itself, so that a call without 16-bit operands does nothing here. Scratch comes from the
/// stream's pool and goes back with the object.
class Fp32Operands {
  public:
    explicit Fp32Operands(CpuStream& stream) : stream_(stream) {}
    Fp32Operands(const Fp32Operands&) = delete;
    Fp32Operands& operator=(const Fp32Operands&) = delete;

    /// What the kernel is to read in place of x.
    ConstOperand read(ConstOperand x, std::int64_t count);
    /// What it is to write in place of y, or to add to where `also_read`. y gets it from finish().
    Operand write(Operand y, std::int64_t count, bool also_read = false);

    /// The same for `rows` rows of `columns` elements, `stride` elements apart; the elements between them are
    /// left alone. Where there is a copy, its rows lie side by side, and `stride` becomes `columns`.
    ConstOperand read(ConstOperand x, std::int64_t rows, std::int64_t columns, std::int64_t& stride);
    Operand write(Operand y, std::int64_t rows, std::int64_t columns, std::int64_t& stride,
                  bool also_read = false);
    /// Of an operand that other kernels write, and this one only reads.
    Operand read_back(Operand y, std::int64_t rows, std::int64_t columns, std::int64_t& stride);

    /// Rounds what was written. To be called once the kernel has run.
    void finish();

  private:
    struct Written {
        Operand to;
        const float* from;
        std::int64_t rows, columns, stride;
    };
    float* scratch(std::int64_t count);

    CpuStream& stream_;
    std::array<BlockRef, 8> blocks_;
    std::array<Written, 4> written_{};
    std::size_t block_count_ = 0, written_count_ = 0;
};

}  // namespace skein::kernels
