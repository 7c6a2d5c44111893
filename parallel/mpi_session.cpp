#include "parallel/mpi_session.h"

#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string_view>

#include "parallel/mpi_check.h"

namespace skein {

MpiSession::MpiSession() : exceptions_(std::uncaught_exceptions()) {
    int running = 0;
    check_mpi(MPI_Initialized(&running), "MPI start");
    if (!running) {
        // A lone Open MPI process forks a daemon that only spawning needs, and which outlives a killed
        // process.
        if (!std::getenv("OMPI_COMM_WORLD_SIZE") && !std::getenv("PMIX_RANK"))
            setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
        int provided = 0;
        check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI start");
        owner_ = true;
    }
    check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI start");
    check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI start");
    check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI start");

    MPI_Comm node = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node),
              "MPI start");
    check_mpi(MPI_Comm_rank(node, &local_rank_), "MPI start");
    check_mpi(MPI_Comm_size(node, &local_size_), "MPI start");
    check_mpi(MPI_Comm_free(&node), "MPI start");

    char name[MPI_MAX_PROCESSOR_NAME] = "";
    int length = 0;
    check_mpi(MPI_Get_processor_name(name, &length), "MPI start");
    std::vector<char> names(static_cast<std::size_t>(size_) * MPI_MAX_PROCESSOR_NAME);
    check_mpi(MPI_Allgather(name, MPI_MAX_PROCESSOR_NAME, MPI_CHAR, names.data(), MPI_MAX_PROCESSOR_NAME,
                            MPI_CHAR, MPI_COMM_WORLD),
              "MPI start");
    for (std::size_t at = 0; at < names.size(); at += MPI_MAX_PROCESSOR_NAME)
        hosts_.emplace_back(&names[at], strnlen(&names[at], MPI_MAX_PROCESSOR_NAME));
    reports_ = std::make_unique<RankReports>();
    const char* bound = std::getenv("OMPI_MCA_orte_bound_at_launch");
    bound_by_launcher_ = bound && std::string_view(bound) == "1";
}

MpiSession::~MpiSession() {
    if (!owner_) return;
    if (size_ > 1 && std::uncaught_exceptions() > exceptions_) abort(70);
    reports_.reset();
    MPI_Finalize();
}

void MpiSession::abort(int code) const noexcept {
    std::fflush(nullptr);
    try {
        reports_->announce_end();
    } catch (const std::exception&) {  // they will see
    }
    MPI_Abort(MPI_COMM_WORLD, code);
    std::_Exit(code);
}

}  // namespace skein
