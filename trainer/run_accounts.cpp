#include "trainer/run_accounts.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "trainer/clock.h"
#include "trainer/run_log.h"

namespace skein {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kNames[kTimeUses] = {"restarting", "productive", "saving", "evaluating"};

double milliseconds_only(double seconds) {
    return std::round(seconds * 1000.0) / 1000.0;
}

Json object_of(const std::string& line) {
    Json json = Json::parse(line, nullptr, false);
    return json.is_object() ? json : Json::object();
}

double number(const Json& json, const char* name) {
    const auto found = json.find(name);
    return found != json.end() && found->is_number() ? found->get<double>() : 0.0;
}

// The objects of a file, a line each; what is none is passed over.
std::vector<Json> objects_in(const std::string& path) {
    std::vector<Json> out;
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);)
        if (Json json = object_of(line); !json.empty()) out.push_back(std::move(json));
    return out;
}

bool is_start(const Json& line) {
    return line.contains("start");
}
bool is_end(const Json& line) {
    return line.contains("end");
}

double modified(const std::string& path) {
    struct stat found {};
    if (::stat(path.c_str(), &found) != 0) return 0.0;
    return static_cast<double>(found.st_mtim.tv_sec) + 1e-9 * static_cast<double>(found.st_mtim.tv_nsec);
}

// A line of log.jsonl stands for the steps since the line before it.
struct LoggedSteps {
    std::uint64_t after, last;
    double seconds_each;
};

std::vector<LoggedSteps> steps_in(const std::string& log) {
    std::vector<LoggedSteps> out;
    std::uint64_t before = 0;
    for (const Json& line : objects_in(log)) {
        const auto step = line.find("step");
        if (step == line.end() || !step->is_number_unsigned() || !line.contains("seconds")) continue;
        const auto at = step->get<std::uint64_t>();
        if (at > before) out.push_back({before, at, number(line, "seconds")});
        before = at;
    }
    return out;
}

// Of the steps after `first` up to `last`.
double training_seconds(const std::vector<LoggedSteps>& log, std::uint64_t first, std::uint64_t last) {
    double seconds = 0.0;
    for (const LoggedSteps& steps : log) {
        const std::uint64_t begin = std::max(steps.after, first), end = std::min(steps.last, last);
        if (begin < end) seconds += static_cast<double>(end - begin) * steps.seconds_each;
    }
    return seconds;
}

std::string utc(double seconds) {
    return utc_time(static_cast<std::time_t>(seconds));
}

// Seconds since 1970; 0 for what is no time.
double seconds_of(const std::string& time) {
    std::tm parts{};
    return ::strptime(time.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts) ? static_cast<double>(::timegm(&parts))
                                                                  : 0.0;
}

double share(double productive, double all) {
    return all > 0.0 ? std::round(productive / all * 1e4) / 1e4 : 0.0;
}

// "seconds" and "useful" of a line.
void add_seconds(Json& line, const Json& seconds) {
    double all = 0.0;
    for (const auto& [name, value] : seconds.items()) all += value.get<double>();
    line["seconds"] = seconds;
    line["useful"] = share(number(seconds, kNames[static_cast<int>(TimeUse::kProductive)]), all);
}

}  // namespace

RunClock::RunClock(double before, std::function<double()> now)
    : now_(now ? std::move(now) : steady_seconds), since_(now_()) {
    seconds_[static_cast<std::size_t>(TimeUse::kRestarting)] = before;
}

void RunClock::enter(TimeUse use) {
    const double now = now_();
    seconds_[static_cast<std::size_t>(use_)] += now - since_;
    since_ = now;
    use_ = use;
}

double RunClock::seconds(TimeUse use) const {
    const double before = seconds_[static_cast<std::size_t>(use)];
    return use == use_ ? before + (now_() - since_) : before;
}

std::string end_line(const RunEnd& end, const RunClock& clock) {
    Json line{{"event", "end"},
              {"end", utc(static_cast<double>(std::time(nullptr)))},
              {"how", end.how},
              {"step", end.step}};
    if (!end.error.empty()) {
        line["error"] = end.error;
        line["code"] = end.code;
    }
    Json seconds = Json::object();
    for (int use = 0; use < kTimeUses; ++use)
        seconds[kNames[use]] = milliseconds_only(clock.seconds(static_cast<TimeUse>(use)));
    seconds["lost"] = 0.0;
    add_seconds(line, seconds);
    return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

double last_sign_of_life(const std::string& folder) {
    return std::max(modified(folder + "/log.jsonl"), modified(folder + "/lock"));
}

double settle_run_accounts(const std::string& folder, std::uint64_t step, double sign_of_life) {
    std::optional<Json> start;
    bool ended = true;
    for (Json& line : objects_in(folder + "/runs.jsonl")) {
        if (is_end(line)) ended = true;
        if (!is_start(line)) continue;
        start = std::move(line);
        ended = false;
    }
    if (!start) return 0.0;
    constexpr std::uint64_t kEver = ~std::uint64_t{0};
    const std::vector<LoggedSteps> log = steps_in(folder + "/log.jsonl");
    if (ended) return milliseconds_only(training_seconds(log, step, kEver));

    const auto began_at = static_cast<std::uint64_t>(number(*start, "step"));
    const std::uint64_t kept = std::max(step, began_at);
    const double productive = training_seconds(log, began_at, kept),
                 lost = training_seconds(log, kept, kEver);
    const double began = seconds_of(start->value("start", ""));
    const double other = began > 0.0 && sign_of_life > 0.0 ? sign_of_life - began - productive - lost : 0.0;
    Json line{{"event", "end"},
              {"end", utc(std::max(sign_of_life, began))},
              {"how", "died"},
              {"step", log.empty() ? began_at : std::max(began_at, log.back().last)}};
    add_seconds(line, {{"restarting", number(*start, "restarting")},
                       {"productive", milliseconds_only(productive)},
                       {"lost", milliseconds_only(lost)},
                       {"other", milliseconds_only(std::max(0.0, other))}});
    append_run_line(folder, line.dump());
    return milliseconds_only(training_seconds(log, step, began_at));
}

std::optional<double> RunTotals::useful() const {
    const double all = restarting + productive + lost + saving + evaluating + other;
    if (all <= 0.0) return std::nullopt;
    return share(productive, all);
}

std::optional<RunTotals> read_run_totals(const std::string& folder) {
    const std::string path = folder + "/runs.jsonl";
    if (!std::filesystem::exists(path)) return std::nullopt;
    RunTotals totals;
    bool ended = true;  // several ranks may tell of one end: the first counts
    for (const Json& line : objects_in(path)) {
        if (is_start(line)) {
            ++totals.starts;
            ended = false;
            totals.productive -= number(line, "lost");
            totals.lost += number(line, "lost");
        }
        if (!is_end(line) || ended || !line.contains("seconds")) continue;
        ended = true;
        const Json& seconds = line["seconds"];
        totals.restarting += number(seconds, "restarting");
        totals.productive += number(seconds, "productive");
        totals.saving += number(seconds, "saving");
        totals.evaluating += number(seconds, "evaluating");
        totals.lost += number(seconds, "lost");
        totals.other += number(seconds, "other");
    }
    totals.productive = std::max(0.0, totals.productive);
    return totals;
}

}  // namespace skein
