#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace skein {

/// The lines of a text file in order, plain or gzip (told by its first bytes, not by its name). A line ends
/// at
/// "\n" or "\r\n"; the last one may lack its end. Holds one line. Move-only.
class LineReader {
  public:
    /// Throws MissingError when there is no such file, IoError when it cannot be read.
    explicit LineReader(const std::string& path);
    LineReader(LineReader&&) noexcept;
    LineReader& operator=(LineReader&&) noexcept;
    ~LineReader();

    /// The next line, without its end; false at the end of the file. Throws IoError; DataError for gzip that
    /// is damaged or cut off, and for a line that is not UTF-8, with its number.
    bool next(std::string& line);

    const std::string& path() const { return path_; }
    /// Lines read so far: the number, from 1, of the last one.
    std::uint64_t lines() const { return lines_; }

  private:
    struct File;
    bool fill();

    std::string path_;
    std::unique_ptr<File> file_;
    std::uint64_t lines_ = 0;
};

}  // namespace skein
