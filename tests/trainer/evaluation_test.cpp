#include "trainer/evaluation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/base/error.h"
#include "model/nn/transformer.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/thread_ranks.h"
#include "tests/trainer/small_run.h"

namespace skein {
namespace {

constexpr std::int64_t kWindows = 1300, kContext = 8;  // three passes: a pass has at most 4,096 tokens

class EvaluationTest : public testing::Test {
  protected:
    EvaluationTest()
        : data_(small_folder(folder_.path(), {},
                             write_small_shard(folder_.path(), "valid", kWindows * kContext + 3, 1))) {}

    Evaluation on(Communicator& ranks, std::int64_t windows) {
        Stream stream(1);
        const ModelConfig model = small_config().model;
        return evaluate(*make_objective(stream, model, 5), stream, ranks,
                        *open_validation_data(data_, model, LongPairs::kError, windows));
    }

    TemporaryFolder folder_;
    DataFolder data_;
};

TEST_F(EvaluationTest, IsTheMeanOverNonOverlappingWindowsWithoutDropout) {
    Stream stream(1);
    const Transformer model(stream, small_config().model, 5);
    const TokenStream tokens(data_.path, data_.valid, data_.header);
    double total = 0.0;
    std::int64_t correct = 0;
    for (std::uint64_t window = 0; window < kWindows; ++window) {
        std::vector<std::int32_t> ids(kContext + 1);
        tokens.read(window * kContext, ids);
        const TokenPass one{Tensor::from<std::int32_t>(stream, {1, kContext},
                                                       std::span<const std::int32_t>(ids).first(kContext)),
                            Tensor::from<std::int32_t>(stream, {1, kContext},
                                                       std::span<const std::int32_t>(ids).last(kContext))};
        Tape tape(stream, Tape::Mode::kInference);
        const LossSums sums = model.loss(tape, one, {}, {});
        total += sums.nll.data<double>()[0];
        correct += sums.correct.data<std::int64_t>()[0];
    }
    SoloCommunicator alone;
    const Evaluation found = on(alone, 0);
    EXPECT_EQ(found.tokens, kWindows * kContext);
    // windows of one pass share fp32 products of another shape, so a loss near 3 may differ in its last
    // places
    EXPECT_NEAR(found.loss, total / (kWindows * kContext), 1e-5);
    EXPECT_NEAR(found.accuracy, static_cast<double>(correct) / (kWindows * kContext), 1e-3);
    EXPECT_DOUBLE_EQ(found.perplexity(), std::exp(found.loss));
    EXPECT_EQ(on(alone, 10).tokens, 10 * kContext);
}

TEST_F(EvaluationTest, IsTheSameBitsForAnyNumberOfRanks) {
    SoloCommunicator alone;
    const Evaluation wanted = on(alone, 0);
    for (const int ranks : {2, 3, 5})
        on_ranks(ranks, [&](Communicator& rank) {
            const Evaluation found = on(rank, 0);
            EXPECT_EQ(found.loss, wanted.loss);
            EXPECT_EQ(found.accuracy, wanted.accuracy);
            EXPECT_EQ(found.tokens, wanted.tokens);
        });
}

TEST_F(EvaluationTest, WindowsThatCannotBeReadAreAnErrorOnEveryRank) {
    // ids up to 19, said to be less than 5
    TemporaryFolder other;
    Stream stream(1);
    {
        Hdf5File file = Hdf5File::create(other / "valid-00000.h5");
        for (const char* name : {"format", "kind", "tokenizer", "tokenizer_sha256"})
            file.set_attribute(name, std::string_view(std::string_view(name) == "format" ? "skein-tokens"
                                                      : std::string_view(name) == "kind" ? "stream"
                                                                                         : ""));
        file.set_attribute("version", std::int64_t{1});
        file.set_attribute("vocab_size", std::int64_t{5});
        file.create_dataset("/tokens", Hdf5Type::kU16, {9});
        file.create_dataset("/offsets", Hdf5Type::kU64, {2});
        file.write<std::uint16_t>("/tokens", 0, std::vector<std::uint16_t>{1, 2, 3, 4, 0, 19, 1, 2, 3});
        file.write<std::uint64_t>("/offsets", 0, std::vector<std::uint64_t>{0, 9});
        file.close();
    }
    DataFolder bad = small_folder(other.path(), {}, {{"valid-00000.h5", 9, 1}});
    bad.header.vocab_size = 5;
    on_ranks(2, [&](Communicator& rank) {
        Stream own(1);
        const ModelConfig model = small_config().model;
        const std::unique_ptr<ValidationData> samples =
            open_validation_data(bad, model, LongPairs::kError, 0);
        EXPECT_THROW(evaluate(*make_objective(own, model, 5), own, rank, *samples), DataError);
    });
}

}  // namespace
}  // namespace skein
