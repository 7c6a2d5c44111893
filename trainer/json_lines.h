#pragma once

#include <cstdint>
#include <fstream>
#include <functional>
#include <string>

namespace skein {

/// A file of JSON objects, one a line, each of which has a "step". Rank 0 only.
class JsonLines {
  public:
    /// Opens it for appending, after dropping the lines of steps after `step` (a resumed run writes them
    /// again) and what is no whole line. When it cannot be written, `warn` hears of it once and the run goes
    /// on. Throws IoError when it cannot be opened.
    JsonLines(const std::string& path, std::int64_t step, std::function<void(const std::string&)> warn);

    void write(const std::string& line);

  private:
    std::string path_;
    std::function<void(const std::string&)> warn_;
    std::ofstream out_;
    bool broken_ = false;
};

}  // namespace skein
