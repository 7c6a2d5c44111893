// What `skein train` says of memory before its first step, with and without --plan.

#include <gtest/gtest.h>

#include "tests/support/refusal.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

class Plan : public RefusalTest {
  protected:
    static void SetUpTestSuite() {
        RefusalTest::SetUpTestSuite();
        write(*shared_ / "text.txt", pseudo_text(8'000));
        ASSERT_EQ(run_skein({"prepare", "--tokenizer", "chars", "--text", *shared_ / "text.txt", "--out",
                             *shared_ / "data"})
                      .code,
                  0);
    }
    static std::vector<std::string> train(const std::string& more) {
        return words("train --data " + *shared_ / "data" +
                     " --model.heads 2 --model.width 64 --model.layers 2 --model.context 32 --train.batch 8"
                     " --parallel.lanes 8 --train.steps 1 --parallel.threads 1 " +
                     more);
    }
};

TEST_F(Plan, NeedsNeitherOutNorRanksNorAGpu) {
    const Outcome one = run_skein(train("--plan"));
    EXPECT_EQ(one.code, 0) << one.errors;
    EXPECT_TRUE(one.out.starts_with("of 1 rank on the CPU, a rank needs ")) << one.out;
    for (const char* part :
         {"parameters ", "gradients ", "optimizer ", "activations ", "buffers ", "program "})
        EXPECT_NE(one.out.find(part), std::string::npos) << one.out;
    const Outcome eight = run_skein(train("--plan --ranks 8 --device cuda --device-memory 80G"));
    EXPECT_EQ(eight.code, 0) << eight.errors;
    EXPECT_TRUE(eight.out.starts_with("of 8 ranks on GPUs, a rank needs ")) << eight.out;
}

TEST_F(Plan, OfWhatDoesNotFitEndsWithTheOptionThatHelps) {
    const Outcome refused = run_skein(train("--plan --device cuda --device-memory 1M"));
    EXPECT_EQ(refused.code, kUsage);
    EXPECT_TRUE(refused.out.starts_with("of 1 rank on GPUs, ")) << refused.out;
    for (const char* piece : {"a rank needs ", "found 1.00 MiB (--device-memory)", "--parallel.lanes 4 ("})
        EXPECT_NE(refused.errors.find(piece), std::string::npos) << refused.errors;
    expect_refused_on_ranks(train("--plan --device-memory much"), kUsage, {"--device-memory: found 'much'"});
    expect_refused_on_ranks(train("--plan --ranks 9"), kUsage, {"--parallel.lanes", "16"});
    expect_refused_on_ranks(train(""), kUsage, {"--out is missing"});
    expect_refused_on_ranks(train("--ranks 2 --out " + folder_ / "run"), kUsage, {"--ranks", "--plan"});
}

TEST_F(Plan, IsSaidByEveryRunWhichEndsBeforeItsFirstStepWhereItDoesNotFit) {
    const Outcome fits = run_skein(train("--device-memory 8G --out " + folder_ / "run"));
    EXPECT_EQ(fits.code, 0) << fits.errors;
    EXPECT_NE(fits.errors.find("a rank needs "), std::string::npos) << fits.errors;
    expect_refused_on_ranks(
        train("--device-memory 1M --out " + folder_ / "none"), kUsage,
        {"a rank needs ", "found 1.00 MiB (--device-memory)", "enough", "--parallel.lanes "});
    EXPECT_FALSE(fs::exists(folder_ / "none/log.jsonl"));
}

}  // namespace
}  // namespace skein
