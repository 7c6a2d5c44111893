#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "launch/commands.h"
#include "launch/failure.h"
#include "launch/ranks.h"
#include "launch/threads.h"
#include "model/base/error.h"
#include "parallel/lanes.h"
#include "trainer/bench.h"

namespace skein {
namespace {

const BenchShape& shape_named(const std::string& name) {
    for (const BenchShape& shape : bench_shapes())
        if (shape.name == name) return shape;
    throw ConfigError(text("--shape: found '", name, "', wanted gpt-nano, gpt-mini, gpt2-124m or base"));
}

int run_bench_command(const Arguments& arguments, Ranks& ranks) {
    BenchOptions options;
    const int own = own_processors(ranks);
    const BenchShape* shape = nullptr;
    ranks.together([&] {
        shape = &shape_named(arguments.value("shape"));
        options.steps = arguments.integer("steps", 1, 1'000'000);
        options.lanes = static_cast<int>(arguments.integer("lanes", 0, 1 << 20));
        options.threads =
            threads_of_a_rank(static_cast<int>(arguments.integer("threads", 0, 4096)), own, ranks);
        options.overlap = arguments.config.parallel.overlap;
        options.bucket_megabytes = arguments.config.parallel.bucket_megabytes;
        if (options.lanes == 0)  // as few as the ranks allow
            for (options.lanes = 1; options.lanes < ranks.session().size();) options.lanes *= 2;
    });
    ranks.together([&] { Lanes(options.lanes, ranks.session().size()); });
    const BenchResult result = run_bench(*shape, options, ranks.world());
    if (!ranks.is_first()) return kExitDone;
    std::printf("%s (%s)\n", shape->name.c_str(), shape->what.c_str());
    std::printf("  %d ranks of %d threads, %d lanes, overlap %s\n", ranks.session().size(), options.threads, options.lanes,
                options.overlap ? "on" : "off");
    std::printf("  %.4f s a step (%.4f to %.4f), %.0f target tokens/s\n", result.seconds, result.least_seconds,
                result.most_seconds, result.tokens_per_second);
    std::printf("  %.1f GFLOP/s, %.0f %% of the %.1f that OpenBLAS reaches on a large product here\n", result.gflops,
                100.0 * result.gflops / result.sgemm_gflops, result.sgemm_gflops);
    std::printf("  %.1f M parameters, peak %.0f MB of tensors a rank\n", static_cast<double>(result.parameters) * 1e-6,
                static_cast<double>(result.peak_bytes) * 1e-6);
    if (result.bytes_sent > 0)
        std::printf("  %.2f MB sent a step and rank, %.0f %% of it before backward ended\n", result.bytes_sent * 1e-6,
                    100.0 * result.sent_early);
    std::fflush(stdout);
    if (arguments.has("json"))
        std::cout << nlohmann::ordered_json{{"shape", shape->name},
                                            {"ranks", ranks.session().size()},
                                            {"threads", options.threads},
                                            {"lanes", options.lanes},
                                            {"overlap", options.overlap},
                                            {"seconds", result.seconds},
                                            {"tokens_per_second", result.tokens_per_second},
                                            {"gflops", result.gflops},
                                            {"sgemm_gflops", result.sgemm_gflops},
                                            {"parameters", result.parameters},
                                            {"peak_bytes", result.peak_bytes},
                                            {"bytes_sent", result.bytes_sent},
                                            {"sent_early", result.sent_early}}
                         .dump()
                  << std::endl;
    return kExitDone;
}

}  // namespace

Command bench_command() {
    Command command;
    command.name = "bench";
    command.summary = "speed of whole training steps on a named shape";
    command.usage = "--shape gpt-nano|gpt-mini|gpt2-124m|base [--threads N] [--steps N] [--lanes L] [--json]";
    command.options = {
        {.name = "shape", .value = "NAME", .help = "which shape", .required = true,
         .choices = {"gpt-nano", "gpt-mini", "gpt2-124m", "base"}},
        {.name = "threads", .value = "N", .help = "threads a rank; 0: its processors", .initial = "0"},
        {.name = "steps", .value = "N", .help = "steps to measure, after three that are not", .initial = "10"},
        {.name = "lanes", .value = "L", .help = "lanes; 0: as few as the ranks allow", .initial = "0"},
        {.name = "json", .value = "", .help = "end with one line of JSON", .kind = CommandOption::Kind::kFlag},
    };
    command.run_options = {"parallel.overlap", "parallel.bucket-megabytes"};
    command.run_on_ranks = run_bench_command;
    return command;
}

}  // namespace skein
