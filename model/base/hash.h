#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace skein {

/// XXH3, 64 bits, seed 0, as 16 lower-case hexadecimal digits. Hashes are stored and compared in this form.
std::string hash_hex(std::span<const std::byte> bytes);
std::string hash_hex(std::string_view bytes);

/// XXH3 of a sequence of pieces; the same as hash_hex of their concatenation.
class StreamingHash {
  public:
    StreamingHash();
    ~StreamingHash();
    StreamingHash(StreamingHash&&) noexcept;
    StreamingHash& operator=(StreamingHash&&) noexcept;

    void update(std::span<const std::byte> bytes);
    void update(std::string_view bytes);
    /// The hash of what was given so far; more may follow.
    std::string hex() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace skein
