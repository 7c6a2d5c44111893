#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace skein {

/// The system calls by which durable files are written. The class itself makes the real calls; a test derives
/// from it to fail, shorten or stop at any one of them. Each returns as the system call does: -1 and errno on
/// failure.
class FileSystem {
  public:
    virtual ~FileSystem() = default;

    virtual int open(const char* path, int flags, mode_t mode);
    virtual ssize_t write(int descriptor, const void* bytes, std::size_t count);
    virtual int fsync(int descriptor);
    virtual int close(int descriptor);
    virtual int rename(const char* from, const char* to);
    virtual int unlink(const char* path);
    virtual int mkdir(const char* path, mode_t mode);
    virtual int rmdir(const char* path);
    /// Called before a library (HDF5) writes to `path` by itself; -1 and errno make that write fail.
    virtual int before_library_write(const char* path);

    /// The real calls. It holds no state.
    static FileSystem& real();
};

/// One file that is being written in order. Not durable before finish(). A file that was not finished is left
/// as it is. Throws IoError.
class FileWriter {
  public:
    /// Creates or truncates `path`.
    FileWriter(FileSystem& system, std::string path);
    FileWriter(const FileWriter&) = delete;
    FileWriter& operator=(const FileWriter&) = delete;
    ~FileWriter();

    /// Goes on after short writes and interrupted calls.
    void write(std::string_view bytes);
    /// fsync and close.
    void finish();

  private:
    FileSystem& system_;
    std::string path_;
    int descriptor_ = -1;
};

/// Writes `bytes` to `path` so that, whatever happens, `path` holds either what it held before or all of
/// `bytes`: PATH.tmp, fsync, rename, fsync of the folder. Throws IoError; PATH.tmp is then removed as far as
/// possible.
void write_file_atomic(FileSystem& system, const std::string& path, std::string_view bytes);

/// Renames and makes the new name durable: both names must be in the same folder. Throws IoError.
void rename_durable(FileSystem& system, const std::string& from, const std::string& to);

/// fsync of a file that something else wrote and closed. Throws IoError.
void sync_file(FileSystem& system, const std::string& path);
/// fsync of a folder: its names are durable. Throws IoError.
void sync_folder(FileSystem& system, const std::string& path);

/// Creates a folder and what is missing above it, durably. No error when it is there. Throws IoError.
void create_folders(FileSystem& system, const std::string& path);

/// Removes a folder and everything in it; no error when it is not there. Not durable. Throws IoError.
void remove_folder(FileSystem& system, const std::string& path);

/// The whole of a small file. Throws MissingError when it is not there, IoError when it cannot be read.
std::string read_file(const std::string& path);

/// Calls `take` with each piece of at most `piece` bytes of a file, in order; `take` returns false to stop.
/// Throws MissingError and IoError.
void read_pieces(const std::string& path, std::size_t piece,
                 const std::function<bool(std::string_view)>& take);

/// Throws MissingError when there is no such file, IoError when it is not a regular file or cannot be looked
/// at.
std::uint64_t file_size(const std::string& path);

/// The folder part of a path: "." when there is none.
std::string folder_of(const std::string& path);

}  // namespace skein
