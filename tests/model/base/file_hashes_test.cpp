#include "model/base/file_hashes.h"

#include <gtest/gtest.h>

#include <fstream>

#include "model/base/error.h"
#include "model/base/files.h"
#include "model/base/hash.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

void put(const std::string& path, std::string_view bytes) {
    write_file_atomic(FileSystem::real(), path, bytes);
}

TEST(FileHashes, AreTakenBlockByBlock) {
    const TemporaryFolder folder;
    const std::string bytes(2 * kHashBlockBytes + 5, 'x');
    put(folder / "a", bytes);
    const FileHash hash = hash_file(folder.path(), "a");
    EXPECT_EQ(hash.size, bytes.size());
    ASSERT_EQ(hash.blocks.size(), 3u);
    EXPECT_EQ(hash.blocks[2], hash_hex(std::string_view("xxxxx")));
    EXPECT_FALSE(verify_file(folder.path(), hash));
    std::fstream(folder / "a", std::ios::in | std::ios::out).seekp(kHashBlockBytes + 17).put('y');
    const auto fault = verify_file(folder.path(), hash);
    ASSERT_TRUE(fault);
    EXPECT_EQ(fault->offset, kHashBlockBytes);
    EXPECT_FALSE(verify_size(folder.path(), hash));
    put(folder / "a", bytes.substr(1));
    EXPECT_TRUE(verify_size(folder.path(), hash));
    std::filesystem::remove(folder / "a");
    EXPECT_EQ(verify_file(folder.path(), hash)->what, "is missing");
}

TEST(FileHashes, RoundTripThroughJson) {
    const std::vector<FileHash> files{{"a.h5", 3, {"0011223344556677"}}, {"empty", 0, {}}};
    EXPECT_EQ(parse_file_hashes(file_hashes_json(files)), files);
    EXPECT_THROW(parse_file_hashes("[{\"name\": 3}]"), DataError);
    EXPECT_THROW(parse_file_hashes("[{\"name\": \"../a\", \"size\": 0, \"blocks\": []}]"), DataError);
    EXPECT_THROW(parse_file_hashes("{"), DataError);
}

TEST(FileHashes, ASealedObjectNoticesEveryChangedByte) {
    const std::string whole = sealed("{\n\"a\": 1\n}\n");
    EXPECT_TRUE(is_sealed(whole));
    for (std::size_t at = 0; at < whole.size(); ++at)
        for (const int flip : {1, 32, 128}) {
            std::string other = whole;
            other[at] = static_cast<char>(other[at] ^ flip);
            EXPECT_FALSE(is_sealed(other)) << at;
        }
    EXPECT_FALSE(is_sealed(whole + "\n"));
    EXPECT_FALSE(is_sealed(whole.substr(1)));
    EXPECT_FALSE(is_sealed(""));
    EXPECT_THROW(sealed("[]"), DataError);
}

}  // namespace
}  // namespace skein
