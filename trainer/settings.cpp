#include "trainer/settings.h"

#include <algorithm>
#include <map>

#include "model/base/error.h"

namespace skein {

namespace {

std::string_view trimmed(std::string_view line) {
    const std::size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return {};
    return line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace

std::string write_ini(const Settings& settings) {
    std::vector<std::string> sections{""};
    std::map<std::string, std::string> lines;
    for (const auto& [name, value] : settings) {
        const std::size_t dot = name.find('.');
        const std::string section = dot == std::string::npos ? "" : name.substr(0, dot);
        if (std::find(sections.begin(), sections.end(), section) == sections.end())
            sections.push_back(section);
        lines[section] += text(dot == std::string::npos ? name : name.substr(dot + 1), " = ", value, "\n");
    }
    std::string ini;
    for (const std::string& section : sections) {
        if (!section.empty()) ini += text(ini.empty() ? "" : "\n", "[", section, "]\n");
        ini += lines[section];
    }
    return ini;
}

Settings parse_ini(std::string_view ini, const std::string& origin) {
    Settings settings;
    std::string section;
    int number = 0;
    while (!ini.empty()) {
        const std::size_t end = ini.find('\n');
        const std::string_view line = trimmed(ini.substr(0, end));
        ini.remove_prefix(end == std::string_view::npos ? ini.size() : end + 1);
        ++number;
        if (line.empty() || line.front() == '#' || line.front() == ';') continue;
        if (line.front() == '[' && line.back() == ']' && line.size() > 2) {
            section = trimmed(line.substr(1, line.size() - 2));
            continue;
        }
        const std::size_t equals = line.find('=');
        const std::string_view name = trimmed(line.substr(0, equals));
        if (equals == std::string_view::npos || name.empty()) {
            throw ConfigError(
                text(origin, " line ", number, ": found '", line, "', wanted [section] or name = value"));
        }
        std::string dotted = section.empty() ? std::string(name) : text(section, ".", name);
        const auto same = [&](const auto& setting) { return setting.first == dotted; };
        if (std::any_of(settings.begin(), settings.end(), same)) {
            throw ConfigError(text(origin, " line ", number, ": option ", dotted, " is set a second time"));
        }
        settings.emplace_back(std::move(dotted), trimmed(line.substr(equals + 1)));
    }
    return settings;
}

}  // namespace skein
