#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace skein {

constexpr int kUsage = 64, kBadData = 65, kMissing = 66, kInputOutput = 74;

/// Tests of what the program refuses: the suite makes what is good in *shared_, and each test damages copies.
class RefusalTest : public testing::Test {
  protected:
    static void SetUpTestSuite() { shared_ = new TemporaryFolder; }
    static void TearDownTestSuite() { delete shared_; }

    /// A copy of a folder in *shared_, to be damaged.
    std::string copy(const std::string& name) {
        const std::string to = folder_ / (name + std::to_string(copies_++));
        std::filesystem::copy(*shared_ / name, to, std::filesystem::copy_options::recursive);
        return to;
    }

    /// One line on stderr that has all the pieces, behind the notices that stand there before training.
    static void expect_refused(const Outcome& outcome, int code, const std::vector<std::string>& pieces) {
        EXPECT_EQ(outcome.code, code) << outcome.errors;
        std::vector<std::string> lines = outcome.own_lines();
        std::erase_if(lines, [](const std::string& line) {
            return line.starts_with("a pass has ") || line.starts_with("a rank needs ") ||
                   line.find(" pairs an epoch, ") != std::string::npos ||
                   line.find("no GPU is used: ") != std::string::npos;
        });
        EXPECT_EQ(outcome.out, "");
        ASSERT_EQ(lines.size(), 1u) << outcome.errors;
        EXPECT_TRUE(lines.front().starts_with("skein ")) << lines.front();
        for (const std::string& piece : pieces)
            EXPECT_NE(lines.front().find(piece), std::string::npos) << lines.front() << "\nwanted: " << piece;
    }
    static void expect_refused_on_ranks(const std::vector<std::string>& arguments, int code,
                                        const std::vector<std::string>& pieces) {
        for (const int ranks : {1, 2}) {
            SCOPED_TRACE(std::to_string(ranks) + " ranks");
            expect_refused(run_skein(arguments, ranks), code, pieces);
        }
    }

    inline static TemporaryFolder* shared_ = nullptr;
    TemporaryFolder folder_;

  private:
    int copies_ = 0;
};

}  // namespace skein
