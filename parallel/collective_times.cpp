#include "parallel/collective_times.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <span>

#include "parallel/mpi_check.h"

namespace skein {
namespace {

double seconds_of(const std::function<void()>& call) {
    check_mpi(MPI_Barrier(MPI_COMM_WORLD), "barrier");
    const auto start = std::chrono::steady_clock::now();
    call();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median_of_slowest(std::vector<double> times) {
    check_mpi(MPI_Allreduce(MPI_IN_PLACE, times.data(), static_cast<int>(times.size()), MPI_DOUBLE, MPI_MAX,
                            MPI_COMM_WORLD),
              "all-reduce");
    std::ranges::nth_element(times, times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2));
    return times[times.size() / 2];
}

CollectiveTimes times_of(const char* name, std::size_t bytes, const std::function<void()>& ours,
                         const std::function<void()>& mpis) {
    const std::size_t calls = std::clamp<std::size_t>((std::size_t{64} << 20) / bytes, 21, 401);
    std::vector<double> our_times, mpis_times;
    for (std::size_t i = 0; i < calls + 5; ++i) {
        const double our = seconds_of(ours), its = seconds_of(mpis);
        if (i < 5) continue;  // connections are made, memory is touched
        our_times.push_back(our);
        mpis_times.push_back(its);
    }
    return {name, bytes, median_of_slowest(our_times), median_of_slowest(mpis_times)};
}

}  // namespace

std::vector<CollectiveTimes> time_collectives(Communicator& world) {
    std::vector<CollectiveTimes> times;
    const auto ranks = static_cast<std::size_t>(world.size());
    for (const std::size_t kib : {1, 16, 256, 4096, 16384}) {
        std::vector<float> values(kib * 256);
        times.push_back(times_of(
            "all-reduce", values.size() * sizeof(float), [&] { world.all_reduce(std::span<float>(values)); },
            [&] {
                check_mpi(MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()),
                                        MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD),
                          "all-reduce");
            }));
    }
    for (const std::size_t kib : {1, 16, 256, 4096, 16384}) {
        const std::size_t part = kib * 256 / ranks;
        std::vector<float> values(part * ranks);
        std::vector<std::span<std::byte>> parts;
        for (std::size_t r = 0; r < ranks; ++r)
            parts.push_back(std::as_writable_bytes(std::span(values).subspan(r * part, part)));
        times.push_back(times_of(
            "all-gather", values.size() * sizeof(float),
            [&] { world.all_gather(parts[static_cast<std::size_t>(world.rank())], parts); },
            [&] {
                check_mpi(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values.data(),
                                        static_cast<int>(part), MPI_FLOAT, MPI_COMM_WORLD),
                          "all-gather");
            }));
    }
    return times;
}

}  // namespace skein
