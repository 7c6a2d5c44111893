// One byte is changed anywhere in a checkpoint or a data folder: inspect finds it, and names the file.

#include <gtest/gtest.h>

#include "tests/launch/changed_bytes.h"
#include "tests/support/program.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

TEST(EveryByte, AChangedByteIsFoundAndItsFileNamed) {
    const int tries = number_from("SKEIN_TEST_TRIES", 60);
    Chance chance;
    SCOPED_TRACE(chance.how_to_repeat());

    const TemporaryFolder folder;
    write(folder / "text.txt", pseudo_text(8'000));
    const Outcome prepared = run_skein(
        {"prepare", "--tokenizer", "chars", "--text", folder / "text.txt", "--out", folder / "data"});
    ASSERT_EQ(prepared.code, 0) << prepared.errors;
    const Outcome trained =
        run_skein(words("train --data " + (folder / "data") + " --out " + (folder / "run") +
                        " --model.layers 1 --model.heads 2 --model.width 16 --model.context 16"
                        " --train.batch 4 --train.steps 2 --parallel.threads 1"),
                  2);
    ASSERT_EQ(trained.code, 0) << trained.errors;

    std::vector<fs::path> files;
    for (const std::string& name : {folder / "data", folder / "run/checkpoints/step-00000002"}) {
        ASSERT_EQ(run_skein({"inspect", name}).code, 0);
        for (const auto& entry : fs::directory_iterator(name)) files.push_back(entry.path());
    }
    std::ranges::sort(files);
    ASSERT_EQ(files.size(), 10u) << "2 shards, index, tokenizer, text; manifest, 2 ranks, model, tokenizer";

    int found = 0;
    for (int i = 0; i < tries; ++i) {
        // every file in turn, the byte and its new value at random
        const fs::path& file = files[static_cast<std::size_t>(i) % files.size()];
        const std::size_t offset = chance.below(fs::file_size(file));
        const unsigned char mask = chance.mask();
        flip_byte(file, offset, mask);
        const Outcome outcome = run_skein({"inspect", file.parent_path()});
        const bool is_found = outcome.code == 65 && outcome.own_lines().size() == 1 &&
                              outcome.errors.find(file.filename()) != std::string::npos;
        EXPECT_TRUE(is_found) << file << " at " << offset << ", xor " << int{mask} << ": " << outcome.code
                              << " " << outcome.errors;
        found += is_found;
        flip_byte(file, offset, mask);
    }
    for (const fs::path& name : {files.front().parent_path(), files.back().parent_path()})
        EXPECT_EQ(run_skein({"inspect", name}).code, 0) << "every byte is back";
    std::printf("found %d of %d changed bytes, in %zu files\n", found, tries, files.size());
}

}  // namespace
}  // namespace skein
