#include "parallel/process_grid.h"

#include <string>

#include "model/base/error.h"
#include "parallel/mpi_communicator.h"

namespace skein {

void check_tensor_ranks(int tensor, int ranks) {
    if (tensor < 1 || ranks % tensor != 0) {
        std::string allowed;
        for (int value = 1; value <= ranks; ++value)
            if (ranks % value == 0) allowed += text(allowed.empty() ? "" : ", ", value);
        throw ConfigError(text("--parallel.tensor is ", tensor, ", which does not divide the ", ranks,
                               " ranks; allowed: ", allowed));
    }
}

ProcessGrid::ProcessGrid(const MpiSession& session, int tensor) {
    const int ranks = session.size();
    check_tensor_ranks(tensor, ranks);
    if (ranks == 1) {
        world_ = std::make_unique<SoloCommunicator>();
        data_ = std::make_unique<SoloCommunicator>();
        tensor_ = std::make_unique<SoloCommunicator>();
        return;
    }
    auto world = std::make_unique<MpiCommunicator>(session);
    data_ = world->split(session.rank() % tensor, session.rank() / tensor);
    tensor_ = world->split(session.rank() / tensor, session.rank() % tensor);
    world_ = std::move(world);
}

}  // namespace skein
