#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "model/tensor/communicator.h"

namespace skein {

/// What a message's tag says: in its low bits the number of the call on its communicator, above them a hash
/// of the call's place in the code. With Open MPI's tags of 31 bits: 19 and 12.
class CallTags {
  public:
    /// `largest`: MPI's own bound, at least 32767.
    explicit CallTags(std::uint32_t largest) {
        const int bits = static_cast<int>(std::bit_width(std::uint64_t{largest} + 1)) - 1;
        place_bits_ = bits * 2 / 5;
        number_bits_ = bits - place_bits_;
    }

    std::uint32_t place_mask() const { return (1u << place_bits_) - 1; }
    int tag(std::uint64_t call, std::uint32_t place) const {
        return static_cast<int>((place & place_mask()) << number_bits_ | (call & number_mask()));
    }
    std::uint32_t place_of(int tag) const { return static_cast<std::uint32_t>(tag) >> number_bits_; }

    /// Which of the calls this rank has started, of which there are `started`, a tag is of; none: of one to
    /// come. Calls are counted from 0. Right as long as ranks are less than half the numbers apart.
    std::optional<std::uint64_t> started_call(int tag, std::uint64_t started) const {
        const std::uint64_t ago = (started - 1 - static_cast<std::uint32_t>(tag)) & number_mask();
        if (ago > number_mask() / 2 || ago >= started) return std::nullopt;
        return started - 1 - ago;
    }

  private:
    std::uint64_t number_mask() const { return (std::uint64_t{1} << number_bits_) - 1; }
    int place_bits_, number_bits_;
};

/// The places in the code that collectives were called at, by a hash of name, file and line.
class CallPlaces {
  public:
    explicit CallPlaces(std::uint32_t mask) : mask_(mask) {}
    /// The site's hash, from now on known.
    std::uint32_t add(const CallSite& site);
    /// to_text of the site with that hash, or that it is not known here.
    std::string describe(std::uint32_t hash) const;

  private:
    struct Recent {
        CallSite site{};
        std::uint32_t hash = 0;
    };
    std::uint32_t mask_;
    std::array<Recent, 64> recent_;  // hashing costs more than a look at the last call of that line
    std::map<std::uint32_t, CallSite> known_;
};

}  // namespace skein
