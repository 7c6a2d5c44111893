#pragma once

#include <functional>

namespace skein::test::shim {

/// Runs `work` when the stream's turn comes to it: at once on the default stream (null), otherwise when somebody
/// waits for the stream or asks for an event behind it.
void queue_on(void* stream, std::function<void()> work);

}  // namespace skein::test::shim
