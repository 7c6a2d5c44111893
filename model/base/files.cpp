#include "model/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <vector>

#include "model/base/error.h"
#include "model/base/handle.h"

namespace skein {
namespace {

struct DescriptorTraits {
    using Value = int;
    static int none() noexcept { return -1; }
    static void release(int descriptor) noexcept { ::close(descriptor); }
};
using Descriptor = Handle<DescriptorTraits>;

Descriptor open_for_reading(const std::string& path) {
    Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file && (errno == ENOENT || errno == ENOTDIR)) throw MissingError(text(path, ": no such file"));
    if (!file) throw_errno("open", path);
    return file;
}

void sync_path(FileSystem& system, const std::string& path, int flags) {
    const int descriptor = system.open(path.c_str(), flags | O_CLOEXEC, 0);
    if (descriptor < 0) throw_errno("open for fsync", path);
    if (system.fsync(descriptor) != 0) {
        const int code = errno;
        system.close(descriptor);
        errno = code;
        throw_errno("fsync", path);
    }
    if (system.close(descriptor) != 0) throw_errno("close", path);
}

}  // namespace

int FileSystem::open(const char* path, int flags, mode_t mode) {
    return ::open(path, flags, mode);
}
ssize_t FileSystem::write(int descriptor, const void* bytes, std::size_t count) {
    return ::write(descriptor, bytes, count);
}
int FileSystem::fsync(int descriptor) {
    return ::fsync(descriptor);
}
int FileSystem::close(int descriptor) {
    return ::close(descriptor);
}
int FileSystem::rename(const char* from, const char* to) {
    return std::rename(from, to);
}
int FileSystem::unlink(const char* path) {
    return ::unlink(path);
}
int FileSystem::mkdir(const char* path, mode_t mode) {
    return ::mkdir(path, mode);
}
int FileSystem::rmdir(const char* path) {
    return ::rmdir(path);
}
int FileSystem::before_library_write(const char*) {
    return 0;
}

FileSystem& FileSystem::real() {
    static FileSystem system;
    return system;
}

FileWriter::FileWriter(FileSystem& system, std::string path) : system_(system), path_(std::move(path)) {
    descriptor_ = system_.open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor_ < 0) throw_errno("create", path_);
}

FileWriter::~FileWriter() {
    if (descriptor_ >= 0) system_.close(descriptor_);
}

void FileWriter::write(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t written = system_.write(descriptor_, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written == 0) errno = ENOSPC;
        if (written <= 0) throw_errno("write", path_);
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
}

void FileWriter::finish() {
    if (system_.fsync(descriptor_) != 0) throw_errno("fsync", path_);
    const int descriptor = descriptor_;
    descriptor_ = -1;
    if (system_.close(descriptor) != 0) throw_errno("close", path_);
}

void write_file_atomic(FileSystem& system, const std::string& path, std::string_view bytes) {
    const std::string temporary = path + ".tmp";
    try {
        FileWriter file(system, temporary);
        file.write(bytes);
        file.finish();
        rename_durable(system, temporary, path);
    } catch (...) {
        system.unlink(temporary.c_str());
        throw;
    }
}

void rename_durable(FileSystem& system, const std::string& from, const std::string& to) {
    if (system.rename(from.c_str(), to.c_str()) != 0) throw_errno("rename " + from + " to", to);
    sync_folder(system, folder_of(to));
}

void sync_file(FileSystem& system, const std::string& path) {
    sync_path(system, path, O_RDONLY);
}
void sync_folder(FileSystem& system, const std::string& path) {
    sync_path(system, path, O_RDONLY | O_DIRECTORY);
}

void create_folders(FileSystem& system, const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0) {
        if (S_ISDIR(status.st_mode)) return;
        errno = ENOTDIR;
        throw_errno("create folder", path);
    }
    const std::string parent = folder_of(path);
    if (parent != path) create_folders(system, parent);
    if (system.mkdir(path.c_str(), 0777) != 0 && errno != EEXIST) throw_errno("create folder", path);
    sync_folder(system, parent);
}

void remove_folder(FileSystem& system, const std::string& path) {
    std::error_code failure;
    std::filesystem::directory_iterator entry(path, failure);
    if (failure == std::errc::no_such_file_or_directory) return;
    for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
        const std::string inside = entry->path().string();
        if (std::error_code ignored; entry->is_directory(ignored) && !entry->is_symlink(ignored))
            remove_folder(system, inside);
        else if (system.unlink(inside.c_str()) != 0 && errno != ENOENT)
            throw_errno("remove", inside);
    }
    if (failure) throw IoError(text("list ", path, ": ", failure.message()));
    if (system.rmdir(path.c_str()) != 0 && errno != ENOENT) throw_errno("remove", path);
}

std::string read_file(const std::string& path) {
    std::string out;
    read_pieces(path, std::size_t{1} << 20, [&](std::string_view piece) {
        out.append(piece);
        return true;
    });
    return out;
}

void read_pieces(const std::string& path, std::size_t piece,
                 const std::function<bool(std::string_view)>& take) {
    const Descriptor file = open_for_reading(path);
    std::vector<char> buffer(piece);
    std::size_t filled = 0;
    for (bool more = true; more;) {
        const ssize_t count = ::read(file.get(), buffer.data() + filled, piece - filled);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_errno("read", path);
        filled += static_cast<std::size_t>(count);
        more = count > 0;
        if (filled > 0 && (filled == piece || !more)) {
            if (!take({buffer.data(), filled})) return;
            filled = 0;
        }
    }
}

std::uint64_t file_size(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) throw MissingError(text(path, ": no such file"));
        throw_errno("stat", path);
    }
    if (!S_ISREG(status.st_mode)) throw IoError(text(path, ": not a regular file"));
    return static_cast<std::uint64_t>(status.st_size);
}

std::string folder_of(const std::string& path) {
    std::size_t end = path.find_last_not_of('/');
    if (end == std::string::npos) return path.empty() ? "." : "/";
    end = path.rfind('/', end);
    if (end == std::string::npos) return ".";
    end = path.find_last_not_of('/', end);
    return end == std::string::npos ? "/" : path.substr(0, end + 1);
}

}  // namespace skein
