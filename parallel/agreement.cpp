#include "parallel/agreement.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "model/base/error.h"

namespace skein {

std::optional<Failure> agree_on_failure(Communicator& communicator, const std::optional<Failure>& mine) {
    const std::vector<std::string> all =
        communicator.all_gather_text(mine ? text(mine->code, " ", mine->message) : std::string());
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
        if (all[rank].empty()) continue;
        const std::size_t space = all[rank].find(' ');
        const bool everywhere = std::ranges::none_of(all, &std::string::empty);
        return Failure{std::atoi(all[rank].c_str()), all[rank].substr(space + 1), static_cast<int>(rank),
                       everywhere};
    }
    return std::nullopt;
}

}  // namespace skein
