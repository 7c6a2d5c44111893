#include "model/base/hash.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include <new>

namespace skein {
namespace {

std::string hex_digits(std::uint64_t value) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string out(16, '0');
    for (int i = 15; i >= 0; --i, value >>= 4) out[static_cast<std::size_t>(i)] = kDigits[value & 15];
    return out;
}

}  // namespace

std::string hash_hex(std::span<const std::byte> bytes) {
    return hex_digits(XXH3_64bits(bytes.data(), bytes.size()));
}

std::string hash_hex(std::string_view bytes) {
    return hex_digits(XXH3_64bits(bytes.data(), bytes.size()));
}

struct StreamingHash::State {
    XXH3_state_t xxh;
};

StreamingHash::StreamingHash() : state_(std::make_unique<State>()) {
    XXH3_INITSTATE(&state_->xxh);
    XXH3_64bits_reset(&state_->xxh);
}
StreamingHash::~StreamingHash() = default;
StreamingHash::StreamingHash(StreamingHash&&) noexcept = default;
StreamingHash& StreamingHash::operator=(StreamingHash&&) noexcept = default;

void StreamingHash::update(std::span<const std::byte> bytes) {
    XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}
void StreamingHash::update(std::string_view bytes) {
    XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}
std::string StreamingHash::hex() const {
    return hex_digits(XXH3_64bits_digest(&state_->xxh));
}

}  // namespace skein
