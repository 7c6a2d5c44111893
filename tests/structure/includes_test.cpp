#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace skein {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = SKEIN_SOURCE_DIR;

/// Each floor with all the floors that it may include, besides itself.
const std::map<std::string, std::set<std::string>>& floors() {
    static const std::map<std::string, std::set<std::string>> all = [] {
        std::map<std::string, std::set<std::string>> floors;
        std::set<std::string> below;
        for (const char* floor : {"base", "tensor", "kernels", "autograd", "nn"}) {
            floors[std::string("model/") + floor] = below;
            below.insert(std::string("model/") + floor);
        }
        floors["model/decode"] = below;
        floors["data"] = {"model/base"};
        floors["parallel"] = below;
        floors["checkpoint"] = below;
        floors["checkpoint"].insert("data");
        below.insert({"model/decode", "data", "parallel", "checkpoint"});
        floors["trainer"] = below;
        below.insert("trainer");
        floors["launch"] = below;
        return floors;
    }();
    return all;
}

/// "model/nn" of "model/nn/linear.h"; empty outside every floor.
std::string floor_of(const std::string& path) {
    for (const auto& [floor, below] : floors()) {
        if (path.starts_with(floor + "/")) return floor;
    }
    return {};
}

struct Include {
    std::string file;  // from the root
    std::string path;  // as it stands there
    bool quoted;
};

std::vector<Include> includes_of(const fs::path& file) {
    static const std::regex pattern(R"(^\s*#\s*include\s*(["<])([^">]+)[">])");
    std::ifstream in(file);
    std::vector<Include> includes;
    for (std::string line; std::getline(in, line);) {
        std::smatch match;
        if (std::regex_search(line, match, pattern)) {
            includes.push_back({fs::relative(file, kRoot).generic_string(), match[2], match[1] == "\""});
        }
    }
    return includes;
}

bool is_source(const fs::path& file) {
    const std::string extension = file.extension().string();
    return extension == ".h" || extension == ".cpp" || extension == ".cu" || extension == ".cuh";
}

std::vector<Include> includes_under(const std::vector<std::string>& folders) {
    std::vector<Include> all;
    for (const std::string& folder : folders) {
        if (!fs::exists(kRoot / folder)) continue;
        for (const fs::directory_entry& entry : fs::recursive_directory_iterator(kRoot / folder)) {
            if (!entry.is_regular_file() || !is_source(entry.path())) continue;
            const std::vector<Include> some = includes_of(entry.path());
            all.insert(all.end(), some.begin(), some.end());
        }
    }
    return all;
}

std::vector<Include> source_includes() {
    return includes_under({"model", "data", "parallel", "checkpoint", "trainer", "launch"});
}

TEST(Structure, EveryFloorIncludesOnlyThoseToItsLeft) {
    const std::vector<Include> includes = source_includes();
    ASSERT_GT(includes.size(), 100u) << "the sources were not found in " << kRoot;
    for (const Include& include : includes) {
        if (!include.quoted) continue;
        const std::string from = floor_of(include.file);
        const std::string to = floor_of(include.path);
        ASSERT_FALSE(from.empty()) << include.file << " stands on no floor";
        EXPECT_FALSE(to.empty()) << include.file << " includes " << include.path << ", which is on no floor";
        EXPECT_TRUE(from == to || floors().at(from).contains(to))
            << include.file << " includes " << include.path << ": " << from << " must not know " << to;
    }
}

TEST(Structure, EveryTestIncludesOnlyItsFloorAndThoseToItsLeft) {
    for (const Include& include : includes_under({"tests"})) {
        if (!include.quoted) continue;
        const std::string from = floor_of(include.file.substr(std::string("tests/").size()));
        const std::string to = floor_of(include.path);
        if (from.empty() || to.empty()) continue;  // tests/support, and tests of no single floor
        // checkpoint knows communicators by their interface only; its test on real ranks needs real ones
        if (include.file == "tests/checkpoint/mpi_test.cpp" && to == "parallel") continue;
        EXPECT_TRUE(from == to || floors().at(from).contains(to))
            << include.file << " includes " << include.path << ": " << from << " must not know " << to;
    }
}

TEST(Structure, QuotedIncludesAreGivenFromTheRoot) {
    std::vector<Include> includes = source_includes();
    const std::vector<Include> tests = includes_under({"tests"});
    includes.insert(includes.end(), tests.begin(), tests.end());
    for (const Include& include : includes) {
        if (!include.quoted) continue;
        EXPECT_TRUE(fs::exists(kRoot / include.path))
            << include.file << " includes \"" << include.path << "\"";
    }
}

// So each header that has a source file of its own compiles alone; CMake sees to the others.
TEST(Structure, EverySourceBeginsWithItsOwnHeader) {
    std::set<std::string> seen;
    int checked = 0;
    for (const Include& include : source_includes()) {
        if (!include.file.ends_with(".cpp") || !seen.insert(include.file).second) continue;
        const std::string own = include.file.substr(0, include.file.size() - 3) + "h";
        if (!fs::exists(kRoot / own)) continue;
        ++checked;
        EXPECT_EQ(include.path, own) << "the first that " << include.file << " includes";
    }
    EXPECT_GT(checked, 100);
}

TEST(Structure, HeadersAreFreeOfVendorHeaders) {
    const std::vector<std::string> vendors{"mpi.h",    "hdf5.h",   "cblas.h", "xxhash.h", "sentencepiece",
                                           "nlohmann", "boost",    "cuda",    "cublas",   "cudnn",
                                           "nccl",     "openblas", "H5"};
    for (const Include& include : source_includes()) {
        if (include.quoted || fs::path(include.file).extension() != ".h") continue;
        for (const std::string& vendor : vendors) {
            EXPECT_FALSE(include.path.starts_with(vendor))
                << include.file << " includes <" << include.path << ">";
        }
    }
}

TEST(Structure, CudasHeadersStayWithItsKernels) {
    for (const Include& include : source_includes()) {
        if (include.quoted) continue;
        for (const char* vendor : {"cuda", "cublas", "cudnn", "nv"})
            EXPECT_TRUE(!include.path.starts_with(vendor) ||
                        include.file.starts_with("model/kernels/cuda/") ||
                        include.file.starts_with("model/tensor/cuda/"))
                << include.file << " includes <" << include.path << ">";
    }
}

TEST(Structure, EveryHeaderIsGuardedOnce) {
    for (const char* folder : {"model", "data", "parallel", "checkpoint", "trainer", "launch", "tests"}) {
        if (!fs::exists(kRoot / folder)) continue;
        for (const fs::directory_entry& entry : fs::recursive_directory_iterator(kRoot / folder)) {
            if (entry.path().extension() != ".h" && entry.path().extension() != ".cuh") continue;
            std::ifstream in(entry.path());
            const std::string all{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
            EXPECT_NE(all.find("#pragma once\n"), std::string::npos) << entry.path();
        }
    }
}

}  // namespace
}  // namespace skein
