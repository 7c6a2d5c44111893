#include "trainer/run_log.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "model/base/error.h"

namespace skein {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no infinities; null says that there is no number.
Json number(double value) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);
}

// The step of a line, if it is a whole one.
std::optional<std::int64_t> step_of(const Json& entry) {
    const auto step = entry.find("step");  // end() of what is no object
    if (step == entry.end() || !step->is_number_integer()) return std::nullopt;
    return step->get<std::int64_t>();
}

void drop_after(const std::string& path, std::int64_t step) {
    std::ifstream in(path);
    if (!in) return;
    const std::string temporary = path + ".tmp";
    std::ofstream out(temporary);
    std::string line;
    bool dropped = false;
    while (std::getline(in, line)) {
        const Json entry = Json::parse(line, nullptr, false);
        const std::optional<std::int64_t> at = step_of(entry);
        if (at && *at <= step && !in.eof())  // eof: the last line has no newline, so it is torn
            out << line << '\n';
        else
            dropped = true;
    }
    out.close();
    if (!out) throw IoError(text("log: cannot write ", temporary));
    if (dropped)
        std::filesystem::rename(temporary, path);
    else
        std::filesystem::remove(temporary);
}

}  // namespace

RunLog::RunLog(const std::string& folder, std::int64_t step, std::function<void(const std::string&)> warn)
    : path_(folder + "/log.jsonl"), warn_(std::move(warn)) {
    drop_after(path_, step);
    out_.open(path_, std::ios::app);
    if (!out_) throw IoError(text("log: cannot open ", path_));
}

void RunLog::step(std::int64_t step, const StepOutcome& outcome, double seconds,
                  std::optional<double> utilisation) {
    Json line = {{"step", step},
                 {"loss", number(outcome.loss)},
                 {"learning_rate", outcome.learning_rate},
                 {"gradient_norm", number(outcome.gradient_norm)},
                 {"tokens", outcome.tokens},
                 {"samples", outcome.samples},
                 {"seconds", seconds},
                 {"tokens_per_second", static_cast<double>(outcome.tokens) / seconds}};
    if (utilisation) line["utilisation"] = *utilisation;
    if (outcome.loss_scale) line["loss_scale"] = *outcome.loss_scale;
    if (outcome.skipped) line["skipped"] = true;
    write(line.dump());
}

void RunLog::evaluation(std::int64_t step, const Evaluation& evaluation) {
    write(Json{{"step", step},
               {"valid_loss", number(evaluation.loss)},
               {"valid_tokens", evaluation.tokens},
               {"valid_perplexity", number(evaluation.perplexity())},
               {"valid_accuracy", evaluation.accuracy}}
              .dump());
}

void RunLog::write(const std::string& line) {
    if (broken_) return;
    out_ << line << '\n' << std::flush;
    if (out_) return;
    broken_ = true;
    warn_(text("log: cannot write ", path_, "; the run goes on without it"));
}

void append_run_line(const std::string& folder, const std::string& json_object) {
    std::ifstream in(folder + "/runs.jsonl", std::ios::ate);
    const bool torn = in && in.tellg() > 0 && in.seekg(-1, std::ios::end).get() != '\n';
    std::ofstream out(folder + "/runs.jsonl", std::ios::app);
    out << (torn ? "\n" : "") + json_object + "\n" << std::flush;
    if (!out) throw IoError(text("log: cannot write ", folder, "/runs.jsonl"));
}

std::string utc_time(std::time_t seconds) {
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    char buffer[32];
    std::strftime(buffer, sizeof buffer, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return buffer;
}

}  // namespace skein
