#pragma once

namespace skein::test::shim {

enum class Order { kForward, kBackward, kShuffled };
/// Of threads and of blocks in the launches that follow, on the shim. A GPU has its own, which nobody knows.
void set_order(Order order);

}  // namespace skein::test::shim
