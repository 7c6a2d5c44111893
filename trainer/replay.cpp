#include "trainer/replay.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "model/base/error.h"
#include "model/base/files.h"
#include "trainer/model_state.h"
#include "trainer/options.h"
#include "trainer/settings.h"
#include "trainer/training_data.h"

namespace skein {
namespace {

using Json = nlohmann::json;

/// The lines of a file as JSON, discarded ones as well. A last line without its end was being written when
/// the run was killed.
std::vector<Json> lines_of(const std::string& path) {
    const std::string bytes = read_file(path);
    std::vector<Json> lines;
    for (std::size_t begin = 0, end; (end = bytes.find('\n', begin)) != std::string::npos; begin = end + 1)
        lines.push_back(Json::parse(bytes.begin() + static_cast<std::ptrdiff_t>(begin),
                                    bytes.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false));
    return lines;
}

std::optional<std::int64_t> step_of(const Json& line) {
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) return std::nullopt;
    return line["step"].get<std::int64_t>();
}

/// Those that have a field, by step.
std::map<std::int64_t, Json> steps_of(const std::string& path, const char* field) {
    std::map<std::int64_t, Json> steps;
    std::size_t number = 0;
    for (Json& line : lines_of(path)) {
        const std::optional<std::int64_t> step = step_of(line);
        ++number;
        if (!step) throw DataError(text(path, ": line ", number, ": found no object with a step"));
        if (line.contains(field)) steps[*step] = std::move(line);
    }
    return steps;
}

bool exists(const std::string& path) {
    std::error_code ignored;
    return std::filesystem::exists(path, ignored);
}

/// Rank 0 only: what a run wrote about its steps, and the comparison with the same steps made again.
class LoggedRun {
  public:
    explicit LoggedRun(const std::string& out)
        : steps_(steps_of(out + "/log.jsonl", "loss")),
          hashes_(exists(out + "/hashes.jsonl") ? steps_of(out + "/hashes.jsonl", "tensors")
                                                : std::map<std::int64_t, Json>()) {}

    std::int64_t last_step() const { return steps_.empty() ? 0 : steps_.rbegin()->first; }
    std::int64_t compared() const { return compared_; }
    std::int64_t hashes() const { return equal_hashes_; }

    /// Throws DataError where they differ.
    void compare(const TrainProgress& at, const ParameterList& parameters, bool to_the_bit) {
        std::string what;
        const auto found = steps_.find(at.step);
        if (found != steps_.end()) {
            compare_number("loss", found->second, at.outcome.loss, to_the_bit, what);
            if (to_the_bit) {
                compare_number("gradient_norm", found->second, at.outcome.gradient_norm, true, what);
                compare_number("learning_rate", found->second, at.outcome.learning_rate, true, what);
            }
        }
        const bool hashed = at.digests && compare_hashes(at.step, parameters, *at.digests, what);
        if (found != steps_.end() || hashed) ++compared_;
        if (at.digests && found != steps_.end() && found->second.contains("parameters"))
            compare_text("all parameters", found->second["parameters"],
                         digest_of_all(parameters, *at.digests), what);
        if (!what.empty()) throw DataError(text("step ", at.step, " is not the run's: ", what));
    }

    /// Of the checkpoint itself, which is no step that was made again.
    void compare_start(std::int64_t step, const ParameterList& parameters, const ParameterDigests& digests) {
        std::string what;
        compare_hashes(step, parameters, digests, what);
        if (!what.empty())
            throw DataError(text("step ", step, ": what the checkpoint holds is not the run's: ", what));
    }

  private:
    static void compare_number(const char* name, const Json& line, double found, bool to_the_bit,
                               std::string& what) {
        const auto logged = line.find(name);
        const double wanted = logged != line.end() && logged->is_number() ? logged->get<double>() : NAN;
        if (to_the_bit ? found == wanted : std::abs(found - wanted) <= 1e-4 * std::abs(wanted)) return;
        if (!std::isfinite(found) && logged != line.end() && logged->is_null()) return;
        what += text(what.empty() ? "" : "; ", name, " is ", Json(found).dump(), ", it logged ",
                     logged == line.end() ? "none" : logged->dump());
    }

    static void compare_text(const std::string& name, const Json& logged, const std::string& found,
                             std::string& what) {
        if (logged != found)
            what += text(what.empty() ? "" : "; ", "the hash of ", name, " is ", found, ", it logged ",
                         logged.dump(-1, ' ', false, Json::error_handler_t::replace));
    }

    /// The first tensor that differs, or that only all of them do. False where the run hashed none.
    bool compare_hashes(std::int64_t step, const ParameterList& parameters, const ParameterDigests& digests,
                        std::string& what) {
        const auto line = hashes_.find(step);
        if (line == hashes_.end()) return false;
        Json tensors = line->second.value("tensors", Json());
        if (!tensors.is_object()) tensors = Json::object();
        const std::size_t before = what.size();
        for (std::size_t i = 0; i < digests.size() && what.size() == before; ++i)
            compare_text(parameters[i].name, tensors.value(parameters[i].name, Json()),
                         digest_text(digests[i]), what);
        if (what.size() == before)
            compare_text("all parameters", line->second.value("parameters", Json()),
                         digest_of_all(parameters, digests), what);
        if (what.size() == before) ++equal_hashes_;
        return true;
    }

    std::map<std::int64_t, Json> steps_, hashes_;
    std::int64_t compared_ = 0, equal_hashes_ = 0;
};

/// What bits lean on, beside the options that the manifest and "changed" tell of.
struct Circumstances {
    std::int64_t ranks = 1;  ///< of the run; they tell only with the fast reduction
    int tensor = 1;          ///< those that share a model
    bool sequence = false;   ///< --parallel.sequence, as in effect: not without them
    std::string data;        ///< fingerprint of the folder; empty: not known
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Circumstances, ranks, tensor, sequence, data)

/// Which steps are made again.
struct Span {
    std::string checkpoint;
    std::int64_t first = 0, last = 0;  ///< the checkpoint's step, and the last one
    Circumstances run;                 ///< in which it went on from the checkpoint
    std::string reduction;             ///< --parallel.reduction, likewise
    bool other_data = false;           ///< than it had until then
    Settings changed;                  ///< with which it went on
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Span, checkpoint, first, last, run, reduction, other_data, changed)

constexpr const char* kFast = "fast";  // --parallel.reduction

/// Of a start that went on from these. Older lines lack what they have not yet told of.
Circumstances circumstances_of(const Json& start, Circumstances before) {
    before.ranks = start.value("ranks", before.ranks);
    before.tensor = start.value("tensor", before.tensor);
    before.sequence = start.value("sequence", before.sequence) && before.tensor > 1;
    before.data = start.value("data", before.data);
    return before;
}

/// Why a start gives other bits than the span's; empty: it does not.
std::string other_in(const Json& start, const Span& span) {
    const Circumstances now = circumstances_of(start, span.run);
    if (start.contains("changed")) return text("another ", start["changed"].begin().key());
    if (now.tensor != span.run.tensor) return text("--parallel.tensor ", now.tensor);
    if (now.sequence != span.run.sequence)
        return text("--parallel.sequence ", now.sequence ? "true" : "false");
    if (span.reduction == kFast && now.ranks != span.run.ranks)
        return text(now.ranks, " ranks, with --parallel.reduction fast");
    if (now.data != span.run.data) return "other data";
    return {};
}

/// Looks in the run's starts for how it went on from the span's first step, and cuts the span where it was
/// started again in a way that gives other bits; then the answer says what was other.
std::string follow_starts(const std::string& path, Span& span) {
    std::vector<Json> starts;
    if (exists(path)) starts = lines_of(path);
    std::erase_if(starts, [](const Json& line) { return !step_of(line) || !line.contains("start"); });
    // the last one from a step, and none whose steps were made again after a later one
    std::map<std::int64_t, Json> in_effect;
    for (Json& start : starts) {
        in_effect.erase(in_effect.lower_bound(*step_of(start)), in_effect.end());
        in_effect[*step_of(start)] = std::move(start);
    }
    const auto behind = in_effect.upper_bound(span.first);
    const Json start = behind == in_effect.begin() ? Json::object() : std::prev(behind)->second;
    const std::string data_of_checkpoint = span.run.data;
    span.run = circumstances_of(start, span.run);
    span.other_data = span.run.data != data_of_checkpoint;
    if (step_of(start) == span.first && start.contains("changed"))
        for (const auto& [name, values] : start["changed"].items()) {
            span.changed.emplace_back(name, values.at(1).get<std::string>());
            if (name == "parallel.reduction") span.reduction = span.changed.back().second;
        }
    for (auto later = behind; later != in_effect.end() && later->first < span.last; ++later)
        if (std::string other = other_in(later->second, span); !other.empty()) {
            span.last = later->first;
            return other;
        }
    return {};
}

bool is_step(const std::string& from) {
    return !from.empty() && from.size() < 19 && from.find_first_not_of("0123456789") == std::string::npos;
}

/// The checkpoint to start from. Rank 0 only.
std::string choose_checkpoint(const ReplayRequest& request, std::int64_t last_logged) {
    if (!request.from.empty() && !is_step(request.from)) return request.from;
    const std::string folder = request.run + "/checkpoints";
    const std::int64_t steps = request.steps > 0 ? request.steps : kReplaySteps;
    const std::int64_t most = request.from.empty() ? last_logged - steps : std::stoll(request.from);
    const CheckpointEntry *newest = nullptr, *oldest = nullptr;
    const std::vector<CheckpointEntry> entries = list_checkpoints(folder, nullptr);
    for (const CheckpointEntry& entry : entries) {
        const auto step = static_cast<std::int64_t>(entry.step);
        if (step <= most && (!newest || entry.step > newest->step)) newest = &entry;
        if (step < last_logged && (!oldest || entry.step < oldest->step)) oldest = &entry;
    }
    if (!newest && request.from.empty() && request.steps == 0) newest = oldest;
    if (newest) return folder + "/" + newest->name;
    if (!request.from.empty())
        throw MissingError(text("--from: ", folder, " has no checkpoint at or before step ", request.from));
    throw MissingError(text(folder, " has no checkpoint with ", std::max<std::int64_t>(request.steps, 1),
                            " logged steps behind it; the log ends at step ", last_logged));
}

Span choose_span(const ReplayRequest& request, const LoggedRun& logged, const Warn& say) {
    Span span;
    span.checkpoint = choose_checkpoint(request, logged.last_step());
    const RunState run = read_manifest(span.checkpoint).run;
    span.first = static_cast<std::int64_t>(run.step);
    const RunConfig saved = from_settings(run.configuration);
    span.run = {static_cast<std::int64_t>(run.grid.data * run.grid.tensor), static_cast<int>(run.grid.tensor),
                saved.parallel.sequence, find_text(run.leans_on, kDataName)};
    span.reduction = get_option(saved, "parallel.reduction");
    const std::int64_t steps =
        request.steps > 0 ? request.steps : std::min(kReplaySteps, logged.last_step() - span.first);
    if (steps <= 0 || steps > logged.last_step() - span.first)
        throw MissingError(text(span.checkpoint, " has ", logged.last_step() - span.first,
                                " logged steps behind it, wanted ", std::max<std::int64_t>(steps, 1)));
    span.last = span.first + steps;
    const std::string starts = request.run + "/runs.jsonl";
    try {
        if (const std::string other = follow_starts(starts, span); !other.empty())
            say(text("replayed up to step ", span.last, ": from there on the run had ", other));
    } catch (const Json::exception& error) {
        throw DataError(text(starts, ": ", error.what()));
    }
    return span;
}

void set(TrainRequest& request, const std::string& name, const std::string& value) {
    set_option(request.config, name, value);
    request.given.insert(name);
}

/// Why bits cannot be the run's; empty: they can.
std::string why_other_bits(const Span& span, const RunConfig& now, std::int64_t ranks) {
    const Circumstances& run = span.run;
    if (now.parallel.tensor != run.tensor)
        return text("the run shared its model out over ", run.tensor, " ranks, now it is ",
                    now.parallel.tensor);
    const auto other = [&](const char* name, const std::string& before) {
        return text("the run had --", name, " ", before, ", now it is ", get_option(now, name));
    };
    if (run.tensor > 1 && now.parallel.sequence != run.sequence)
        return other("parallel.sequence", run.sequence ? "true" : "false");
    if (get_option(now, "parallel.reduction") != span.reduction)
        return other("parallel.reduction", span.reduction);
    if (span.reduction == kFast && ranks != run.ranks)
        return text("with --parallel.reduction fast the run had ", run.ranks, " ranks, now it is ", ranks);
    return {};
}

/// Nothing is saved, evaluated or logged.
TrainRequest request_for(const Span& span, TrainRequest request, bool to_the_bit) {
    request.out.clear();
    request.resume = span.checkpoint;
    for (const OptionInfo& option : run_options())
        if (option.name.starts_with("checkpoint.") || option.name.starts_with("eval.") ||
            option.name.starts_with("log."))
            set(request, option.name, option.initial);
    set(request, "checkpoint.every", "0");
    set(request, "eval.every", "0");
    set(request, "log.hash", to_the_bit ? "1" : "0");
    set(request, "train.steps", std::to_string(span.last));
    for (const auto& [name, value] : span.changed)
        if (!request.given.contains(name)) set(request, name, value);
    request.accept_changed_data = span.other_data;
    return request;
}

/// The trainer is told to accept other data than the checkpoint's, so these must be those of the start.
void check_data(const std::string& path, const Span& span, const Communicator& world,
                const Together& together) {
    const DataFolder folder = open_data_together(path, world.rank(), together);
    together([&] {
        if (folder.fingerprint != span.run.data)
            throw ConfigError(text("--data: ", path, " is not the data with which the run went on from step ",
                                   span.first, ": its fingerprint is ", folder.fingerprint, ", wanted ",
                                   span.run.data));
    });
}

}  // namespace

ReplayResult replay(ReplayRequest request, Communicator& world, const Together& together,
                    TrainObserver observer, const StopSignal& stop) {
    const auto say = [&](const std::string& line) {
        if (world.rank() == 0 && observer.line) observer.line(line);
    };
    std::optional<LoggedRun> logged;  // on rank 0
    Span span;
    together([&] {
        if (world.rank() != 0) return;
        logged.emplace(request.run);
        span = choose_span(request, *logged, say);
    });
    span = Json::parse(world.broadcast_text(Json(span).dump(), 0)).get<Span>();
    if (span.other_data) check_data(request.train.data, span, world, together);
    const auto unless_given = [&](const char* name, const std::string& value) {
        if (!request.train.given.contains(name)) set(request.train, name, value);
    };
    unless_given("parallel.tensor", std::to_string(span.run.tensor));
    unless_given("parallel.sequence", span.run.sequence ? "true" : "false");
    unless_given("parallel.reduction", span.reduction);
    const std::string other_bits = why_other_bits(span, request.train.config, world.size());
    const bool to_the_bit = other_bits.empty();
    if (!to_the_bit) say(other_bits + ": bits differ by nature, losses are compared to 1e-4");

    // Rank 0 has the log; what differs from it is no rank's own failure.
    const auto compare = [&](const auto& with_log) {
        std::string difference;
        try {
            if (logged) with_log(*logged);
        } catch (const DataError& error) {
            difference = error.what();
        }
        difference = world.broadcast_text(difference, 0);
        if (!difference.empty()) together([&] { throw DataError(difference); });
    };
    Trainer* running = nullptr;
    const auto show = std::move(observer.step);
    observer.step = [&](const TrainProgress& at) {
        compare([&](LoggedRun& log) { log.compare(at, running->parameters(), to_the_bit); });
        if (show) show(at);
    };
    Trainer trainer(request_for(span, std::move(request.train), to_the_bit), world, together, observer);
    running = &trainer;
    if (to_the_bit) {
        const ParameterDigests digests = trainer.parameter_digests();
        compare([&](LoggedRun& log) { log.compare_start(span.first, trainer.parameters(), digests); });
    }
    const TrainResult done = trainer.run(stop);
    together([&] {
        if (logged && logged->compared() == 0 && done.end == TrainEnd::kFinished)
            throw MissingError(
                text(request.run, " logged none of the steps ", span.first + 1, " to ", done.step));
    });
    return {done.end, span.first, done.step - span.first, logged ? logged->compared() : 0,
            logged ? logged->hashes() : 0};
}

}  // namespace skein
