#pragma once

#include <string>

namespace skein::test::shim {

/// The next question for the state of a communicator of this process is answered with this error.
void plant_nccl_error(std::string words);

}  // namespace skein::test::shim
