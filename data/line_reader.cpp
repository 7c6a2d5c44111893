#include "data/line_reader.h"

#include <zlib.h>

#include <cerrno>
#include <string_view>

#include "data/utf8.h"
#include "model/base/error.h"
#include "model/base/files.h"

namespace skein {
namespace {

constexpr unsigned kBufferBytes = 1u << 18;

}  // namespace

struct LineReader::File {
    explicit File(gzFile opened) : handle(opened) {}
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() { gzclose(handle); }

    gzFile handle;
    std::string buffer = std::string(kBufferBytes, '\0');
    std::string_view left;  // of the buffer
};

LineReader::LineReader(const std::string& path) : path_(path) {
    static_cast<void>(file_size(path));  // says what is wrong with the name
    const gzFile file = gzopen(path.c_str(), "rb");
    if (file == nullptr) throw_errno("open", path);
    file_ = std::make_unique<File>(file);
    gzbuffer(file, kBufferBytes);
}

LineReader::LineReader(LineReader&&) noexcept = default;
LineReader& LineReader::operator=(LineReader&&) noexcept = default;
LineReader::~LineReader() = default;

/// False at the end of the file.
bool LineReader::fill() {
    errno = 0;
    const int count = gzread(file_->handle, file_->buffer.data(), kBufferBytes);
    int code = Z_OK;
    const char* message = gzerror(file_->handle, &code);
    if (count < 0 && code == Z_ERRNO) throw_errno("read", path_);
    // A file that is cut off gives what there is, and this code.
    if (count < 0 || code == Z_BUF_ERROR)
        throw DataError(text(path_, ": is damaged gzip after line ", lines_, ": ", message));
    file_->left = std::string_view(file_->buffer).substr(0, static_cast<std::size_t>(count));
    return count > 0;
}

bool LineReader::next(std::string& line) {
    line.clear();
    bool is_there = false;
    while (!file_->left.empty() || fill()) {
        is_there = true;
        const std::size_t end = file_->left.find('\n');
        line += file_->left.substr(0, end);
        const bool is_whole = end != std::string_view::npos;
        file_->left.remove_prefix(is_whole ? end + 1 : file_->left.size());
        if (!is_whole) continue;
        if (line.ends_with('\r')) line.pop_back();
        break;
    }
    if (!is_there) return false;
    ++lines_;
    if (const auto wrong = first_invalid_utf8(line))
        throw DataError(text(path_, ", line ", lines_, ": byte ", *wrong, " is not UTF-8"));
    return true;
}

}  // namespace skein
