#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/data_folder.h"
#include "model/base/files.h"

namespace skein {

struct PrepareProgress {
    /// "reading" or "writing", or "learning the vocabulary"; without a measure total is 0.
    std::string phase;
    /// Bytes of text.
    std::uint64_t done = 0, total = 0;
};

/// Tells `call` of a phase's progress, every few MiB; `call` may be empty, and outlives this.
class Meter {
  public:
    Meter(const std::function<void(const PrepareProgress&)>& call, std::string phase, std::uint64_t total);
    void add(std::uint64_t bytes);
    void finish();

  private:
    const std::function<void(const PrepareProgress&)>& call_;
    PrepareProgress now_;
    std::uint64_t shown_ = 0;
};

/// The lines from which pieces are learned: all, or evenly spread ones when there are more than 2 M lines or
/// 64 MiB.
class LineSample {
  public:
    /// How many lines and bytes will be offered, at the most.
    LineSample(std::uint64_t lines, std::uint64_t bytes);
    void offer(std::string_view line);
    std::vector<std::string> take() { return std::move(lines_); }

  private:
    double share_, owed_;
    std::vector<std::string> lines_;
};

/// Throws ConfigError unless 0 ≤ fraction < 1.
void require_fraction(double fraction);

/// Throws ConfigError when OUT holds files with the names of a data folder that skein did not write.
void require_replaceable(const std::string& out);

/// Writes shards and tokenizers into the folder `partial` and fills in train and valid; gives the names of
/// the other files that it wrote there.
using WriteDataFolder =
    std::function<std::vector<std::string>(const std::string& partial, DataFolder& folder)>;

/// Makes the data folder folder.path: all is written to PATH/prepare.partial first and moved at the end,
/// index.json last. When anything fails, what the folder held before is still there and good; a stop in the
/// middle of moving leaves a folder that open_data_folder refuses. Throws IoError and what `write` throws.
DataFolder make_data_folder(DataFolder folder, FileSystem& system, const WriteDataFolder& write);

}  // namespace skein
