// One rank of a SavingRun that goes on to kDisturbedStep:
//
//   trainer_saving_run FOLDER RANK CALL     rank RANK is killed at its call number CALL; -1: none is
//
// Each rank that comes to the end writes what its calls were about to FOLDER/calls-N, a line each; those that
// gave a checkpoint its name begin with an exclamation mark.

#include <cstdlib>
#include <fstream>
#include <iostream>

#include "parallel/mpi_communicator.h"
#include "tests/trainer/saving_run.h"

int main(int argc, char** argv) {
    using namespace skein;
    if (argc != 4) return 64;
    const std::string folder = argv[1];
    const int rank = std::atoi(argv[2]), call = std::atoi(argv[3]);
    try {
        MpiSession session;
        MpiCommunicator world(session);
        FaultySystem system =
            world.rank() == rank ? FaultySystem(FaultySystem::Mode::kKill, call) : FaultySystem();
        SavingRun{folder, folder + "/run", {}}.train(world, system, kDisturbedStep);
        std::ofstream out(folder + "/calls-" + std::to_string(world.rank()));
        for (std::size_t i = 0; i < system.paths().size(); ++i) {
            const bool publishes = std::ranges::count(system.published(), static_cast<int>(i) + 1) > 0;
            out << (publishes ? "!" : "") << system.paths()[i] << "\n";
        }
        return out ? 0 : 1;
    } catch (const std::exception& error) {
        std::cerr << error.what() << std::endl;
        std::_Exit(1);  // the other rank may wait for this one
    }
}
