#include "model/base/files.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>

#include "model/base/error.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

/// Fails one call of all: number `fail_at`, counted from 0. Writes are short all along.
struct FaultySystem : FileSystem {
    int fail_at = -1, calls = 0;
    bool fails() {
        errno = EIO;
        return calls++ == fail_at;
    }
    int open(const char* path, int flags, mode_t mode) override {
        return fails() ? -1 : FileSystem::open(path, flags, mode);
    }
    ssize_t write(int descriptor, const void* bytes, std::size_t count) override {
        return fails() ? -1 : FileSystem::write(descriptor, bytes, count > 7 ? 7 : count);
    }
    int fsync(int descriptor) override { return fails() ? -1 : FileSystem::fsync(descriptor); }
    int close(int descriptor) override {
        const bool failed = fails();
        const int result = FileSystem::close(descriptor);
        return failed ? -1 : result;
    }
    int rename(const char* from, const char* to) override {
        return fails() ? -1 : FileSystem::rename(from, to);
    }
};

TEST(Files, AnAtomicWriteLeavesTheOldOrTheNewWhateverFails) {
    const TemporaryFolder folder;
    const std::string before = "what was there", after = "what is there now, and longer";
    FaultySystem good;
    write_file_atomic(good, folder / "a", before);
    const int calls = good.calls;
    EXPECT_GE(calls, 8);
    int failures = 0;
    for (int fail_at = 0; fail_at < calls + 10; ++fail_at) {
        write_file_atomic(FileSystem::real(), folder / "a", before);
        FaultySystem system;
        system.fail_at = fail_at;
        try {
            write_file_atomic(system, folder / "a", after);
        } catch (const IoError&) {
            ++failures;
        }
        const std::string found = read_file(folder / "a");
        EXPECT_TRUE(found == before || found == after) << found;
        EXPECT_THROW(read_file(folder / "a.tmp"), MissingError);
    }
    EXPECT_GE(failures, calls);
}

TEST(Files, PiecesJoinToTheFile) {
    const TemporaryFolder folder;
    const std::string bytes = "0123456789";
    write_file_atomic(FileSystem::real(), folder / "a", bytes);
    for (std::size_t piece = 1; piece < 12; ++piece) {
        std::string joined;
        read_pieces(folder / "a", piece, [&](std::string_view part) {
            EXPECT_TRUE(part.size() == piece || joined.size() + part.size() == bytes.size());
            joined += part;
            return true;
        });
        EXPECT_EQ(joined, bytes);
    }
    EXPECT_EQ(file_size(folder / "a"), 10u);
    EXPECT_THROW(file_size(folder / "b"), MissingError);
    EXPECT_THROW(file_size(folder.path()), IoError);
    EXPECT_THROW(read_file(folder.path()), IoError);
}

TEST(Files, FoldersAreMadeWithWhatIsAboveThem) {
    const TemporaryFolder folder;
    create_folders(FileSystem::real(), folder / "a/b/c/");
    create_folders(FileSystem::real(), folder / "a/b");
    EXPECT_TRUE(std::filesystem::is_directory(folder / "a/b/c"));
    std::ofstream(folder / "file") << "x";
    EXPECT_THROW(create_folders(FileSystem::real(), folder / "file"), IoError);
    EXPECT_THROW(create_folders(FileSystem::real(), folder / "file/b"), IoError);
}

TEST(Files, TheFolderOfAPathIsWhatStandsBeforeItsLastName) {
    EXPECT_EQ(folder_of("a"), ".");
    EXPECT_EQ(folder_of("/a"), "/");
    EXPECT_EQ(folder_of("a/b"), "a");
    EXPECT_EQ(folder_of("a//b/"), "a");
    EXPECT_EQ(folder_of("/"), "/");
}

}  // namespace
}  // namespace skein
