#include "trainer/json_lines.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "model/base/error.h"

namespace skein {
namespace {

using Json = nlohmann::json;

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

JsonLines::JsonLines(const std::string& path, std::int64_t step, std::function<void(const std::string&)> warn)
    : path_(path), warn_(std::move(warn)) {
    drop_after(path_, step);
    out_.open(path_, std::ios::app);
    if (!out_) throw IoError(text("log: cannot open ", path_));
}

void JsonLines::write(const std::string& line) {
    if (broken_) return;
    out_ << line << '\n' << std::flush;
    if (out_) return;
    broken_ = true;
    warn_(text("log: cannot write ", path_, "; the run goes on without it"));
}

}  // namespace skein
