#pragma once

#include <cstdlib>
#include <random>
#include <string>

namespace skein {

/// What the environment says, for a test that can do more or something else than it does by itself.
inline int number_from(const char* variable, int otherwise) {
    const char* value = std::getenv(variable);
    return value ? std::atoi(value) : otherwise;
}

/// Other numbers in every run, or those of SKEIN_TEST_SEED.
class Chance {
  public:
    std::size_t below(std::size_t bound) {
        return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_);
    }
    unsigned char mask() { return static_cast<unsigned char>(1 + below(255)); }
    std::mt19937& generator() { return random_; }
    /// For SCOPED_TRACE.
    std::string how_to_repeat() const { return "SKEIN_TEST_SEED=" + std::to_string(seed_); }

  private:
    unsigned seed_ =
        static_cast<unsigned>(number_from("SKEIN_TEST_SEED", static_cast<int>(std::random_device{}() >> 1)));
    std::mt19937 random_{seed_};
};

}  // namespace skein
