#include "checkpoint/damage.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <sstream>

#include "checkpoint/rank_file.h"
#include "model/base/error.h"
#include "model/base/hash.h"

namespace skein {
namespace {

// More than a file takes that can be read at all.
constexpr unsigned kLeastSeconds = 20;
constexpr std::uint64_t kLeastBytesASecond = std::uint64_t{20} << 20;

bool is_good(const Hdf5File& file, const TensorPiece& piece, DType dtype) {
    const auto elements = static_cast<std::uint64_t>(piece.shape.elements());
    if (file.elements(piece.dataset) != elements || size_of(file.type(piece.dataset)) != size_of(dtype))
        return false;
    std::vector<std::byte> bytes(elements * size_of(dtype));
    file.read_bytes(piece.dataset, 0, bytes);
    return hash_hex(bytes) == piece.hash;
}

// "BEGIN END NAME" for each damaged piece. Where none can be read it is the file's structure that is damaged.
std::string look(const std::string& folder, const Manifest& manifest, const std::string& name) {
    const Hdf5File file = Hdf5File::open_readonly(folder + "/" + name);
    std::ostringstream damaged;
    bool any_read = false;
    for (const TensorRecord& tensor : manifest.tensors)
        for (const TensorPiece& piece : tensor.pieces) {
            if (piece.file != name) continue;
            std::uint64_t place = 0;
            try {
                place = file.place(piece.dataset).value_or(0);
                if (is_good(file, piece, tensor.dtype)) {
                    any_read = true;
                    continue;
                }
            } catch (const Error&) {
            }
            damaged << place << " "
                    << place + static_cast<std::uint64_t>(piece.shape.elements()) * size_of(tensor.dtype)
                    << " " << tensor.name << "\n";
        }
    return any_read ? damaged.str() : "";
}

void write_all(int pipe, const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
        const ssize_t count = ::write(pipe, text.data() + at, text.size() - at);
        if (count <= 0) return;
        at += static_cast<std::size_t>(count);
    }
}

std::string read_all(int pipe) {
    std::string text;
    std::array<char, 4096> piece;
    for (ssize_t count = 0; (count = ::read(pipe, piece.data(), piece.size())) > 0;)
        text.append(piece.data(), static_cast<std::size_t>(count));
    return text;
}

std::uint64_t size_in(const Manifest& manifest, const std::string& file) {
    for (const FileHash& hash : manifest.files)
        if (hash.name == file) return hash.size;
    return 0;
}

}  // namespace

std::vector<DamagedTensor> damaged_tensors(const std::string& folder, const Manifest& manifest,
                                           const std::string& file) {
    std::array<int, 2> pipe{};
    if (::pipe(pipe.data()) != 0) return {};
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(pipe[0]);
        ::alarm(kLeastSeconds + static_cast<unsigned>(size_in(manifest, file) / kLeastBytesASecond));
        try {
            write_all(pipe[1], look(folder, manifest, file));
        } catch (const std::exception&) {  // it cannot be opened
        }
        ::_exit(0);
    }
    ::close(pipe[1]);
    std::istringstream lines(child < 0 ? "" : read_all(pipe[0]));
    ::close(pipe[0]);
    int status = 0;
    if (child > 0) ::waitpid(child, &status, 0);
    std::vector<DamagedTensor> tensors;
    for (DamagedTensor one; lines >> one.begin >> one.end && std::getline(lines >> std::ws, one.name);)
        tensors.push_back(one);
    return tensors;
}

}  // namespace skein
