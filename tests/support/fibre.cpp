#include "tests/support/fibre.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// switch_stacks(&save, load): pushes what a function must keep, saves the stack pointer, and goes on where
// the other stack was left. A stack that has not run yet holds what the pops take and the address of its
// first function. swapcontext would do the same with two system calls each time, which is most of a test's
// time; it serves where this is not x86-64.
#if defined(__x86_64__)
asm(R"(
.text
.type skein_switch_stacks, @function
skein_switch_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size skein_switch_stacks, . - skein_switch_stacks
)");
extern "C" void skein_switch_stacks(void** save, void* load);
#else
#include <ucontext.h>
#endif

namespace skein::test {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kStackBytes = std::size_t{128} << 10;

Fibre* starting = nullptr;  // handed to a fibre's first function, which takes no argument

#if defined(__x86_64__)
void* first_frame(std::byte* stack, void (*function)()) {
    auto* top = reinterpret_cast<std::uintptr_t*>(stack + kStackBytes);
    *--top = 0;  // where the function would return to; once it runs this is 8 bytes off a multiple of 16, as
                 // a call has it
    *--top = reinterpret_cast<std::uintptr_t>(function);
    for (int i = 0; i < 6; ++i) *--top = 0;
    return top;
}
void switch_stacks(void*& save, void* load) {
    skein_switch_stacks(&save, load);
}
#else
void* first_frame(std::byte* stack, void (*function)()) {
    auto* context = new (stack) ucontext_t;  // at the far end of the stack itself
    getcontext(context);
    context->uc_stack.ss_sp = stack + sizeof(ucontext_t);
    context->uc_stack.ss_size = kStackBytes - sizeof(ucontext_t);
    context->uc_link = nullptr;
    makecontext(context, function, 0);
    return context;
}
void switch_stacks(void*& save, void* load) {
    ucontext_t here;  // stays where it is until this stack goes on
    save = &here;
    swapcontext(&here, static_cast<ucontext_t*>(load));
}
#endif

}  // namespace

Fibre::Fibre() {
    void* memory = mmap(nullptr, kPage + kStackBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, kPage, PROT_NONE) != 0) throw std::bad_alloc();
    memory_ = static_cast<std::byte*>(memory);
}

Fibre::~Fibre() {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(memory_ + kPage, kStackBytes);
#endif
    munmap(memory_, kPage + kStackBytes);
}

void Fibre::start(std::function<void()> body) {
#if defined(__SANITIZE_ADDRESS__)
    // what frames have left behind: one that has ended only at the top of its stack
    const std::size_t used = done_ ? kPage : kStackBytes;
    __asan_unpoison_memory_region(memory_ + kPage + kStackBytes - used, used);
#endif
    body_ = std::move(body);
    error_ = nullptr;
    done_ = false;
    own_fake_stack_ = nullptr;
    own_stack_pointer_ = first_frame(memory_ + kPage, &Fibre::enter);
}

void Fibre::resume() {
    starting = this;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&resumer_fake_stack_, memory_ + kPage, kStackBytes);
#endif
    switch_stacks(resumer_stack_pointer_, own_stack_pointer_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(resumer_fake_stack_, nullptr, nullptr);
#endif
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Fibre::yield() {
    leave(false);
}

void Fibre::leave([[maybe_unused]] bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &own_fake_stack_, resumer_stack_,
                                   resumer_stack_bytes_);
#endif
    switch_stacks(own_stack_pointer_, resumer_stack_pointer_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(own_fake_stack_, &resumer_stack_, &resumer_stack_bytes_);
#endif
}

void Fibre::enter() {
    starting->run();
}

void Fibre::run() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &resumer_stack_, &resumer_stack_bytes_);
#endif
    try {
        body_();
    } catch (...) {
        error_ = std::current_exception();
    }
    done_ = true;
    leave(true);
    std::terminate();  // nobody resumes a fibre that is done
}

}  // namespace skein::test
