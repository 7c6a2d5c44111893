// Every __global__ function of the sources runs in these tests, templates over an element type with each of
// the three.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/cuda_shim.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

struct Kernel {
    std::string file, name;
    bool by_element_type;
};

std::string without_comments(const fs::path& path) {
    std::ifstream in(path);
    std::string all;
    for (std::string line; std::getline(in, line);) all += line.substr(0, line.find("//")) + "\n";
    return all;
}

/// The word at the front of `text`, which is taken away with the space around it; empty where there is none.
std::string take_word(std::string_view& text) {
    const auto trim = [&] { text.remove_prefix(std::min(text.find_first_not_of(" \n"), text.size())); };
    trim();
    std::size_t length = 0;
    while (length < text.size() &&
           (std::isalnum(static_cast<unsigned char>(text[length])) || text[length] == '_'))
        ++length;
    std::string word(text.substr(0, length));
    text.remove_prefix(length);
    trim();
    return word;
}

/// The name in "void __launch_bounds__(threads) name(..."; empty for what does not look so.
std::string declared_name(std::string_view text) {
    if (take_word(text) != "void") return {};
    std::string word = take_word(text);
    if (word == "__launch_bounds__") {
        text.remove_prefix(std::min(text.find(')'), text.size() - 1) + 1);
        word = take_word(text);
    }
    return text.starts_with("(") ? word : std::string();
}

/// Whether "template <class T>" or "template <class T, ..." is what `before` ends with.
bool ends_with_element_template(std::string_view before) {
    before = before.substr(0, before.find_last_not_of(" \n") + 1);
    const std::size_t head = before.rfind("template <");
    if (!before.ends_with(">") || head == std::string_view::npos) return false;
    before.remove_prefix(head);
    return before.starts_with("template <class T>") || before.starts_with("template <class T,");
}

/// Read from the sources; a __global__ that is not understood counts as a kernel without a name, which
/// nothing runs.
std::vector<Kernel> kernels_in_sources() {
    const std::string mark = "__global__";
    std::vector<Kernel> kernels;
    for (const auto& entry :
         fs::recursive_directory_iterator(fs::path(SKEIN_SOURCE_DIR) / "model/kernels/cuda")) {
        const std::string extension = entry.path().extension().string();
        if (extension != ".cu" && extension != ".cuh" && extension != ".h") continue;
        const std::string source = without_comments(entry.path());
        for (std::size_t at = source.find(mark); at != std::string::npos;
             at = source.find(mark, at + mark.size())) {
            const std::string_view all = source;
            kernels.push_back({entry.path().filename().string(), declared_name(all.substr(at + mark.size())),
                               ends_with_element_template(all.substr(0, at))});
        }
    }
    return kernels;
}

bool was_launched(const std::string& name, const std::string& arguments) {
    const auto& launched = test::shim::launched_kernels();
    return std::any_of(launched.begin(), launched.end(), [&](const std::string& kernel) {
        if (name.empty()) return false;
        if (arguments.empty()) return kernel == name || kernel.starts_with(name + "<");
        return kernel.starts_with(name + "<" + arguments + ",") || kernel == name + "<" + arguments + ">";
    });
}

/// After the last test, when all have run.
class EveryKernel : public ::testing::Environment {
  public:
    void TearDown() override {
        if (::testing::GTEST_FLAG(filter) != "*") return;
        const std::vector<Kernel> kernels = kernels_in_sources();
        EXPECT_GE(kernels.size(), 15u) << "the kernels were not found in " << SKEIN_SOURCE_DIR;
        for (const Kernel& kernel : kernels) {
            EXPECT_TRUE(was_launched(kernel.name, "")) << kernel.file << ": no test runs " << kernel.name;
            if (!kernel.by_element_type) continue;
            for (const char* type : {"float", "Bf16", "F16"})
                EXPECT_TRUE(was_launched(kernel.name, type))
                    << kernel.file << ": no test runs " << kernel.name << " with " << type;
        }
    }
};

[[maybe_unused]] const ::testing::Environment* const kEveryKernel =
    ::testing::AddGlobalTestEnvironment(new EveryKernel);

TEST(EveryKernel, IsFoundInTheSources) {
    const std::vector<Kernel> kernels = kernels_in_sources();
    const auto has = [&](const std::string& name, bool by_element_type) {
        return std::any_of(kernels.begin(), kernels.end(), [&](const Kernel& kernel) {
            return kernel.name == name && kernel.by_element_type == by_element_type;
        });
    };
    EXPECT_TRUE(has("layer_norm_backward_kernel", true));
    EXPECT_TRUE(has("exclusive_scan_kernel", false));
    EXPECT_FALSE(was_launched("no_such_kernel", ""));
}

}  // namespace
}  // namespace skein
