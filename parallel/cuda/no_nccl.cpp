#include "parallel/nccl.h"

namespace skein::nccl {
namespace {

[[noreturn]] void refuse() {
    throw CudaError("NCCL: this build has none");
}

}  // namespace

Report find() {
    return {0, "this build has no NCCL"};
}
std::string place_of(int) {
    return {};
}
Id make_id() {
    refuse();
}
void* start(const Id&, int, int) {
    refuse();
}
bool is_settled(void*) {
    refuse();
}
void finalize(void*) {
    refuse();
}
void destroy(void*) noexcept {}
void abort(void*) noexcept {}
void exchange(void*, std::span<const Outgoing>, std::span<const Incoming>, void*) {
    refuse();
}
void all_reduce(void*, float*, std::size_t, void*) {
    refuse();
}

}  // namespace skein::nccl
