#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "model/tensor/pool.h"

namespace skein {

/// Copies from the host that nobody waits for: each goes through pinned memory of its own, which is used
/// again when the copy is over.
class Uploads {
  public:
    explicit Uploads(Pool& host_pool) : host_pool_(host_pool) {}

    /// Queues the copy on the stream; `host` may change once it returns. Gives the event behind it.
    void* start(const void* host, void* to, std::size_t bytes, void* stream);

    /// Where copies go that are not to wait for the work of another stream.
    void* own_stream = nullptr;

  private:
    struct Upload {
        BlockRef pinned;
        std::shared_ptr<void> event;
    };

    Pool& host_pool_;
    std::deque<Upload> under_way_;
    std::vector<std::shared_ptr<void>> idle_;  // events
};

}  // namespace skein
