#include "launch/memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "model/base/error.h"
#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

TEST(Size, IsANumberAndAPowerOf1024) {
    EXPECT_EQ(parse_size("x", "4096"), 4096u);
    EXPECT_EQ(parse_size("x", "2K"), 2048u);
    EXPECT_EQ(parse_size("x", "512M"), std::size_t{512} << 20);
    EXPECT_EQ(parse_size("x", "80G"), std::size_t{80} << 30);
    EXPECT_EQ(parse_size("x", "1.5T"), std::size_t{3} << 39);
    for (const char* wrong : {"", "G", "80GB", "-1G", "0", "80 G", "80g", "1e30T"}) {
        try {
            parse_size("device-memory", wrong);
            FAIL() << wrong;
        } catch (const ConfigError& error) {
            EXPECT_NE(std::string(error.what()).find("--device-memory: found '" + std::string(wrong) + "'"),
                      std::string::npos)
                << error.what();
        }
    }
}

class HostMemory : public testing::Test {
  protected:
    void write(const std::string& path, const std::string& text) {
        const std::filesystem::path file = folder_ / path;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file) << text;
    }
    std::size_t found() const { return host_memory(folder_.path()); }

    TemporaryFolder folder_;
};

TEST_F(HostMemory, IsTheMachinesOrWhatItsControlGroupsAllow) {
    EXPECT_EQ(found(), 0u) << "nothing says it";
    write("proc/meminfo", "MemTotal:       24000000 kB\nMemFree: 1 kB\n");
    const std::size_t all = std::size_t{24'000'000} * 1024;
    EXPECT_EQ(found(), all);
    write("proc/self/cgroup", "0::/jobs/7\n");
    write("sys/fs/cgroup/jobs/7/memory.max", "max\n");
    EXPECT_EQ(found(), all);
    write("sys/fs/cgroup/jobs/memory.max", "4000000000\n");
    EXPECT_EQ(found(), 4'000'000'000u) << "of the group around it";
    write("sys/fs/cgroup/jobs/7/memory.max", "3000000000\n");
    EXPECT_EQ(found(), 3'000'000'000u);
    write("proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/job\n1:name=systemd:/\n");
    write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
    EXPECT_EQ(found(), all);
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000000\n");
    EXPECT_EQ(found(), 2'000'000'000u);
}

}  // namespace
}  // namespace skein
