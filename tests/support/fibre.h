#pragma once

#include <cstddef>
#include <exception>
#include <functional>

namespace skein::test {

/// A stack of its own on which a function runs and, in the middle of it, stops and is taken up again, all on
/// one thread of the system. AddressSanitizer is told of every change of stacks. A fibre that is not at its
/// end may be destroyed; what lives on its stack is then not.
class Fibre {
  public:
    Fibre();
    Fibre(const Fibre&) = delete;
    Fibre& operator=(const Fibre&) = delete;
    ~Fibre();

    /// What the next resume() starts. Forgets what it was at.
    void start(std::function<void()> body);
    /// Runs until the body yields or returns. Throws what the body throws, after which it is at its end.
    void resume();
    /// Inside the body: back to who resumed.
    void yield();
    bool done() const { return done_; }

  private:
    static void enter();
    void run();
    void leave(bool for_good);

    std::byte* memory_;  // a page that may not be touched, then the stack
    std::function<void()> body_;
    std::exception_ptr error_;
    bool done_ = true;
    void* own_stack_pointer_ = nullptr;
    void* resumer_stack_pointer_ = nullptr;
    void* own_fake_stack_ = nullptr;
    void* resumer_fake_stack_ = nullptr;
    const void* resumer_stack_ = nullptr;
    std::size_t resumer_stack_bytes_ = 0;
};

}  // namespace skein::test
