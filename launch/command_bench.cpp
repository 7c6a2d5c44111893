#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "launch/bench_checkpoint.h"
#include "launch/bench_kernels.h"
#include "launch/commands.h"
#include "launch/device.h"
#include "launch/failure.h"
#include "launch/rank_place.h"
#include "launch/ranks.h"
#include "launch/threads.h"
#include "model/base/error.h"
#include "parallel/collective_times.h"
#include "parallel/lanes.h"
#include "parallel/process_grid.h"
#include "trainer/bench.h"
#include "trainer/ceilings.h"
#include "trainer/option_values.h"
#include "trainer/options.h"
#include "trainer/utilisation.h"

namespace skein {
namespace {

std::vector<std::string> shape_names() {
    std::vector<std::string> names;
    for (const BenchShape& shape : bench_shapes()) names.push_back(shape.name);
    return names;
}

const BenchShape& shape_named(const std::string& name) {
    for (const BenchShape& shape : bench_shapes())
        if (shape.name == name) return shape;
    throw ConfigError(text("--shape: found '", name, "', wanted ", either(shape_names())));
}

/// What is asked for, and with --compare what it is to be held against: overlap off, and the optimizer
/// sharded or not, where there are several ranks; and eight lanes (or one, when eight are asked for).
std::vector<BenchVariant> variants_of(const BenchVariant& asked, bool compare, int ranks) {
    std::vector<BenchVariant> variants{asked};
    if (!compare) return variants;
    if (ranks > 1) variants.push_back({asked.lanes, !asked.overlap, asked.zero});
    if (ranks > 1) variants.push_back({asked.lanes, asked.overlap, 1 - asked.zero});
    const int other = asked.lanes == 8 ? 1 : 8;
    if (other >= ranks) variants.push_back({other, asked.overlap, asked.zero});
    return variants;
}

void print(const BenchShape& shape, const std::vector<BenchResult>& results,
           const std::optional<double>& peak, bool of_gpu, int ranks, int threads) {
    std::printf("%s (%s)\n%d ranks of %d threads, %.1f M parameters\n", shape.name.c_str(),
                shape.what.c_str(), ranks, threads, static_cast<double>(results.front().parameters) * 1e-6);
    for (const BenchResult& result : results) {
        std::printf("  %d lanes, overlap %s, zero %d: %.4f s a step (%.4f to %.4f), %.0f target tokens/s\n",
                    result.variant.lanes, result.variant.overlap ? "on" : "off", result.variant.zero,
                    result.seconds, result.least_seconds, result.most_seconds, result.tokens_per_second);
        std::printf("    %.1f model GFLOP/s", result.gflops);
        if (peak)
            std::printf(
                ", utilisation %.0f %% of the %.1f %s", 100.0 * result.gflops / *peak, *peak,
                of_gpu ? "that the GPUs' data sheet has" : "that OpenBLAS reaches on a large product here");
        std::printf("; peak %.0f MB of tensors a rank\n", static_cast<double>(result.peak_bytes) * 1e-6);
        const auto megabytes = [](std::size_t bytes) { return static_cast<double>(bytes) * 1e-6; };
        std::printf("    parameters %.0f MB, gradients %.0f MB, optimizer %.0f MB, activations %.0f MB\n",
                    megabytes(result.memory.parameters), megabytes(result.memory.gradients),
                    megabytes(result.memory.optimizer), megabytes(result.memory.activations));
        if (result.bytes_sent > 0)
            std::printf(
                "    %.2f MB of gradients sent a step and rank, %.0f %% of it before backward ended\n",
                result.bytes_sent * 1e-6, 100.0 * result.sent_early);
        const auto all = [&](const char* what, std::int64_t sent, std::int64_t formula) {
            if (sent + formula > 0)
                std::printf("    all ranks send %lld bytes of %s a step; by formula %lld\n",
                            static_cast<long long>(sent), what, static_cast<long long>(formula));
        };
        all("gradients", result.sent.data, result.formula.data);
        all("activations", result.sent.tensor, result.formula.tensor);
    }
    std::fflush(stdout);
}

nlohmann::ordered_json json_of(const BenchResult& result, const std::optional<double>& peak) {
    nlohmann::ordered_json json{{"lanes", result.variant.lanes},
                                {"overlap", result.variant.overlap},
                                {"zero", result.variant.zero},
                                {"seconds", result.seconds},
                                {"tokens_per_second", result.tokens_per_second},
                                {"gflops", result.gflops},
                                {"parameters", result.parameters},
                                {"peak_bytes", result.peak_bytes},
                                {"bytes_sent", result.bytes_sent},
                                {"sent_early", result.sent_early},
                                {"data_bytes", result.sent.data},
                                {"data_bytes_by_formula", result.formula.data},
                                {"tensor_bytes", result.sent.tensor},
                                {"tensor_bytes_by_formula", result.formula.tensor}};
    json["memory"] = {{"parameters", result.memory.parameters},
                      {"gradients", result.memory.gradients},
                      {"optimizer", result.memory.optimizer},
                      {"activations", result.memory.activations}};
    if (peak) json["utilisation"] = result.gflops / *peak;
    return json;
}

nlohmann::ordered_json json_of(const KernelReport& report) {
    nlohmann::ordered_json json{{"copy_bytes_per_second", report.ceilings.copy},
                                {"product_flops_per_second", report.ceilings.product},
                                {"step_seconds", report.times.step},
                                {"inside_seconds", report.times.inside},
                                {"outside_seconds", report.times.outside}};
    for (const FamilyTime& family : report.times.families)
        json["families"].push_back({{"name", family.name},
                                    {"calls", family.calls},
                                    {"seconds", family.seconds},
                                    {"bytes", family.bytes},
                                    {"flops", family.flops},
                                    {"floor_seconds", family.floor(report.ceilings)}});
    return json;
}

int run_collectives(Ranks& ranks, bool as_json) {
    const std::vector<CollectiveTimes> times = time_collectives(ranks.world());
    if (!ranks.is_first()) return kExitDone;
    std::printf("%d ranks: microseconds by messages of ours, and by MPI's own\n", ranks.session().size());
    nlohmann::ordered_json json{{"ranks", ranks.session().size()}};
    for (const CollectiveTimes& of : times) {
        std::printf("  %-10s %6zu KiB %10.1f %10.1f   %.2f x\n", of.name, of.bytes / 1024, of.ours * 1e6,
                    of.mpis * 1e6, of.ours / of.mpis);
        json["collectives"].push_back(
            {{"name", of.name}, {"bytes", of.bytes}, {"seconds", of.ours}, {"mpi_seconds", of.mpis}});
    }
    std::fflush(stdout);
    if (as_json) std::cout << json.dump() << std::endl;
    return kExitDone;
}

int run_bench_command(const Arguments& arguments, Ranks& ranks) {
    if (arguments.has("collectives")) return run_collectives(ranks, arguments.has("json"));
    if (arguments.has("checkpoint")) {
        const BenchShape* saved = nullptr;
        ranks.together([&] { saved = &shape_named(arguments.value("shape")); });
        return bench_checkpoint(arguments, ranks, *saved);
    }
    BenchOptions options;
    BenchVariant asked;
    const int own = own_processors(ranks);
    options.gpu = device_of_a_rank(arguments.config.device, ranks);
    BenchShape shape;
    std::optional<ProcessGrid> grid;
    ranks.together([&] { grid.emplace(ranks.session(), arguments.config.parallel.tensor); });
    const int data_ranks = grid->data().size();
    options.sequence = arguments.config.parallel.sequence;
    ranks.together([&] {
        if (!arguments.has("shape")) throw ConfigError("bench: found neither --shape nor --collectives");
        shape = shape_named(arguments.value("shape"));
        if (const std::int64_t batch = arguments.integer("batch", 0, 1 << 20); batch > 0) {
            shape.batch = batch;
            shape.what += text("; here batch ", batch);
        }
        options.steps = arguments.integer("steps", 1, 1'000'000);
        options.threads =
            threads_of_a_rank(static_cast<int>(arguments.integer("threads", 0, 4096)), own, ranks);
        options.bucket_megabytes = arguments.config.parallel.bucket_megabytes;
        options.precision = arguments.config.train.precision;
        options.tf32 = arguments.config.train.tf32;
        options.by_kernel = arguments.has("by-kernel");
        asked.lanes = static_cast<int>(arguments.integer("lanes", 0, 1 << 20));
        asked.overlap = arguments.config.parallel.overlap;
        asked.zero = arguments.config.parallel.zero;
        if (asked.lanes == 0)  // as few as the ranks allow
            for (asked.lanes = 1; asked.lanes < data_ranks;) asked.lanes *= 2;
        Lanes(asked.lanes, data_ranks);
        check_sharing(shape.model, arguments.config.parallel.tensor);
    });
    options.device_group =
        device_group_of(arguments.config.parallel,
                        gather_transport_facts(ranks.session(), ranks.world(), options.gpu), ranks);
    options.variants = variants_of(asked, arguments.has("compare"), data_ranks);
    const std::vector<BenchResult> results = run_bench(shape, options, grid->groups());
    std::optional<double> peak;
    if (!options.gpu)
        peak = sgemm_peak(options.threads, ranks.world());
    else if (const auto known = known_peak_flops(properties_of(*options.gpu).name, options.precision);
             known && !options.tf32)
        peak = *known * 1e-9 * ranks.session().size();
    std::optional<KernelReport> kernels;
    if (options.by_kernel) {
        Ceilings ceilings;
        ceilings.copy = copy_rate(options.gpu, options.threads, ranks.world());
        ceilings.product = options.gpu ? product_rate(*options.gpu, options.precision, ranks.world())
                                       : *peak * 1e9 / ranks.session().size();
        kernels = {kernel_times(results.front().metered, ceilings), ceilings, results.front().seconds};
    }
    if (!ranks.is_first()) return kExitDone;
    print(shape, results, peak, options.gpu.has_value(), ranks.session().size(), options.threads);
    if (kernels) print(*kernels);
    if (!arguments.has("json")) return kExitDone;
    nlohmann::ordered_json json{{"shape", shape.name},
                                {"ranks", ranks.session().size()},
                                {"tensor", arguments.config.parallel.tensor},
                                {"threads", options.threads},
                                {"precision", get_option(arguments.config, "train.precision")}};
    if (!options.gpu) json["sgemm_gflops"] = *peak;
    json.update(json_of(results.front(), peak));
    if (kernels) json["kernels"] = json_of(*kernels);
    for (std::size_t i = 1; i < results.size(); ++i) json["compared"].push_back(json_of(results[i], peak));
    std::cout << json.dump() << std::endl;
    return kExitDone;
}

}  // namespace

Command bench_command() {
    Command command;
    command.name = "bench";
    command.summary = "speed of whole training steps on a named shape";
    command.usage =
        "--shape NAME [--batch N] [--threads N] [--steps N] [--lanes L] [--compare] [--by-kernel] [--json] | "
        "--collectives "
        "| --checkpoint --shape NAME --out DIR [--rounds N]";
    command.options = {
        {.name = "shape", .value = "NAME", .help = "which shape", .choices = shape_names()},
        {.name = "threads", .value = "N", .help = "threads a rank; 0: its processors", .initial = "0"},
        {.name = "steps",
         .value = "N",
         .help = "steps to measure, after three that are not",
         .initial = "10"},
        {.name = "batch",
         .value = "N",
         .help = "sequences over all ranks, in place of the shape's; 0: the shape's",
         .initial = "0"},
        {.name = "lanes", .value = "L", .help = "lanes; 0: as few as the ranks allow", .initial = "0"},
        {.name = "compare",
         .value = "",
         .help = "also, by turns: eight lanes, and on several ranks without overlap, and with the other "
                 "--parallel.zero",
         .kind = CommandOption::Kind::kFlag},
        {.name = "by-kernel",
         .value = "",
         .help = "also, in as many steps again: the time of each kind of kernel, beside what memory and "
                 "products allow at the least",
         .kind = CommandOption::Kind::kFlag},
        {.name = "collectives",
         .value = "",
         .help = "in place of a shape: sums and gathers over the ranks, against MPI's own",
         .kind = CommandOption::Kind::kFlag},
        {.name = "checkpoint",
         .value = "",
         .help = "in place of steps: saving and loading the shape with its optimizer's state",
         .kind = CommandOption::Kind::kFlag},
        {.name = "out", .value = "DIR", .help = "with --checkpoint: on whose disk"},
        {.name = "rounds", .value = "N", .help = "with --checkpoint: how often", .initial = "5"},
        {.name = "json",
         .value = "",
         .help = "end with one line of JSON",
         .kind = CommandOption::Kind::kFlag},
    };
    command.run_options = {"device",
                           "train.precision",
                           "train.tf32",
                           "parallel.transport",
                           "parallel.overlap",
                           "parallel.zero",
                           "parallel.tensor",
                           "parallel.sequence",
                           "parallel.bucket-megabytes",
                           "parallel.timeout"};
    command.run_on_ranks = run_bench_command;
    return command;
}

}  // namespace skein
