#include "trainer/run_log.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/base/error.h"

namespace skein {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no infinities; null says that there is no number.
Json number(double value) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);
}

}  // namespace

RunLog::RunLog(const std::string& folder, std::int64_t step, std::function<void(const std::string&)> warn)
    : log_(folder + "/log.jsonl", step, warn), hashes_(folder + "/hashes.jsonl", step, warn) {}

void RunLog::step(std::int64_t step, const StepOutcome& outcome, double seconds,
                  std::optional<double> utilisation, const std::string& parameters) {
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
    if (!parameters.empty()) line["parameters"] = parameters;
    log_.write(line.dump());
}

void RunLog::evaluation(std::int64_t step, const Evaluation& evaluation) {
    log_.write(Json{{"step", step},
                    {"valid_loss", number(evaluation.loss)},
                    {"valid_tokens", evaluation.tokens},
                    {"valid_perplexity", number(evaluation.perplexity())},
                    {"valid_accuracy", evaluation.accuracy}}
                   .dump());
}

void RunLog::hashes(std::int64_t step, const ParameterList& parameters, const ParameterDigests& digests) {
    Json line = {{"step", step}, {"parameters", digest_of_all(parameters, digests)}};
    Json& tensors = line["tensors"] = Json::object();
    for (std::size_t i = 0; i < digests.size(); ++i) tensors[parameters[i].name] = digest_text(digests[i]);
    hashes_.write(line.dump());
}

void append_run_line(const std::string& folder, const std::string& json_object) {
    std::ifstream in(folder + "/runs.jsonl", std::ios::ate);
    const bool torn = in && in.tellg() > 0 && in.seekg(-1, std::ios::end).get() != '\n';
    std::ofstream out(folder + "/runs.jsonl", std::ios::app);
    out << (torn ? "\n" : "") + json_object + "\n" << std::flush;
    if (!out) throw IoError(text("log: cannot write ", folder, "/runs.jsonl"));
}

}  // namespace skein
