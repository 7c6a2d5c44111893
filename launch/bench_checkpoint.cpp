#include "launch/bench_checkpoint.h"

#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "launch/failure.h"
#include "launch/threads.h"
#include "model/base/error.h"
#include "trainer/checkpoint_times.h"

namespace skein {

int bench_checkpoint(const Arguments& arguments, Ranks& ranks, const BenchShape& shape) {
    const int own = own_processors(ranks);
    int threads = 1, rounds = 1;
    ranks.together([&] {
        if (!arguments.has("out")) throw ConfigError("bench: option --out is missing, wanted --out DIR");
        threads = threads_of_a_rank(static_cast<int>(arguments.integer("threads", 0, 4096)), own, ranks);
        rounds = static_cast<int>(arguments.integer("rounds", 1, 1000));
    });
    CheckpointTimes times;
    ranks.together(
        [&] { times = time_checkpoint(shape, threads, arguments.value("out"), rounds, ranks.world()); });
    if (!ranks.is_first()) return kExitDone;
    const auto bytes = static_cast<double>(times.bytes);
    std::printf("%s with Adam: %.1f MB, %d ranks of %d threads, medians of %d\n", shape.name.c_str(),
                bytes * 1e-6, ranks.session().size(), threads, rounds);
    const auto print = [&](const char* what, double seconds) {
        std::printf("  %-44s %8.4f s  %8.0f MB/s", what, seconds, bytes * 1e-6 / seconds);
    };
    const auto against = [&](const char* what, double seconds, double than) {
        print(what, seconds);
        std::printf("   %.2f x\n", seconds / than);
    };
    const auto alone = [&](const char* what, double seconds) {
        print(what, seconds);
        std::printf("\n");
    };
    alone("memcpy of as many bytes by the same threads", times.copy);
    against("  training held up by a save", times.held_up, times.copy);
    alone("write and fsync of as many bytes", times.write);
    against("  a save in the background until durable", times.durable, times.write);
    against("  a save that is waited for", times.waited_for, times.write);
    alone("read of the checkpoint's files", times.read);
    against("  load, every byte verified", times.load, times.read);
    std::fflush(stdout);
    if (arguments.has("json"))
        std::cout << nlohmann::ordered_json{{"shape", shape.name},
                                            {"ranks", ranks.session().size()},
                                            {"threads", threads},
                                            {"bytes", times.bytes},
                                            {"held_up", times.held_up},
                                            {"durable", times.durable},
                                            {"waited_for", times.waited_for},
                                            {"memcpy", times.copy},
                                            {"write", times.write},
                                            {"load", times.load},
                                            {"read", times.read}}
                         .dump()
                  << std::endl;
    return kExitDone;
}

}  // namespace skein
