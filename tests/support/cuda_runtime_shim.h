#pragma once

#include <functional>

namespace skein::test::shim {

/// Runs `work` when the stream's turn comes to it: at once on the default stream (null), otherwise when
/// somebody waits for the stream or asks for an event behind it.
void queue_on(void* stream, std::function<void()> work);
/// The same for work that takes its time: what is queued behind it waits until `step`, which is called again
/// each time somebody asks or waits, has returned true. Not on the default stream.
void queue_until(void* stream, std::function<bool()> step);

/// Whether it lies in the fake GPU's memory.
bool is_on_device(const void* memory);

}  // namespace skein::test::shim
