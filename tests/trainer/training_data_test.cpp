#include "trainer/training_data.h"

#include <gtest/gtest.h>

#include "model/base/error.h"
#include "tests/support/temporary_folder.h"
#include "tests/trainer/small_run.h"

namespace skein {
namespace {

SampleRange all_of(std::int64_t samples) {
    return {0, samples};
}

class TrainingDataTest : public testing::Test {
  protected:
    std::unique_ptr<TrainingData> pairs(const Settings& changes = {}) {
        data_ = small_folder(folder_.path(), write_small_pairs(folder_.path(), "train", 100), {},
                             DataKind::kPairs);
        return open_training_data(data_, small_pair_config(changes));
    }
    std::unique_ptr<TrainingData> text() {
        data_ = small_folder(folder_.path(), write_small_shard(folder_.path(), "train", 500, 1), {});
        return open_training_data(data_, small_config());
    }

    TemporaryFolder folder_;
    DataFolder data_;
};

void expect_walks_on_from_every_place(const TrainingData& data, int batches) {
    std::vector<Batch> all;
    const std::unique_ptr<BatchWalk> walk = data.walk({}, all_of);
    for (int i = 0; i < batches; ++i) all.push_back(walk->next());
    for (int i = 0; i + 1 < batches; ++i) {
        const Batch next = data.walk(all[static_cast<std::size_t>(i)].after, all_of)->next();
        const Batch& wanted = all[static_cast<std::size_t>(i) + 1];
        EXPECT_EQ(next.samples, wanted.samples) << i;
        EXPECT_EQ(next.after, wanted.after) << i;
        ASSERT_EQ(next.part.index(), wanted.part.index());
        if (const auto* tokens = std::get_if<TokenBatch>(&next.part)) {
            EXPECT_EQ(tokens->inputs, std::get<TokenBatch>(wanted.part).inputs) << i;
        } else {
            const auto &found = std::get<PairBatch>(next.part), &expected = std::get<PairBatch>(wanted.part);
            EXPECT_EQ(found.source, expected.source) << i;
            EXPECT_EQ(found.targets, expected.targets) << i;
        }
    }
    EXPECT_GE(all.back().after.epoch, 1u) << "the walk crosses an epoch";
}

TEST_F(TrainingDataTest, AWalkOverTextGoesOnFromEveryPlace) {
    expect_walks_on_from_every_place(*text(), 12);
}

TEST_F(TrainingDataTest, AWalkOverPairsGoesOnFromEveryPlace) {
    expect_walks_on_from_every_place(*pairs(), 40);
}

TEST_F(TrainingDataTest, ATokenCountIsThatOfTheWholeBatchWhateverARankReads) {
    const std::unique_ptr<TrainingData> data = pairs();
    const auto first = data->walk({}, [](std::int64_t n) { return SampleRange{0, n / 2}; });
    const auto second = data->walk({}, [](std::int64_t n) { return SampleRange{n / 2, n}; });
    const auto whole = data->walk({}, all_of);
    for (int i = 0; i < 10; ++i) {
        const Batch a = first->next(), b = second->next(), both = whole->next();
        const auto &left = std::get<PairBatch>(a.part), &right = std::get<PairBatch>(b.part),
                   &wanted = std::get<PairBatch>(both.part);
        std::vector<std::int32_t> joined = left.targets;
        joined.insert(joined.end(), right.targets.begin(), right.targets.end());
        EXPECT_EQ(joined, wanted.targets);
        EXPECT_EQ(both.target_tokens, std::ssize(wanted.targets));
        EXPECT_EQ(a.target_tokens, both.target_tokens);
        EXPECT_EQ(b.target_tokens, both.target_tokens);
        EXPECT_EQ(both.source_tokens, std::ssize(wanted.source));
        EXPECT_EQ(a.source_tokens, both.source_tokens);
        EXPECT_EQ(b.source_tokens, both.source_tokens);
    }
}

TEST_F(TrainingDataTest, PairsThatCannotBeReadLeaveBlanksOfTheirLengths) {
    const std::unique_ptr<TrainingData> data = pairs();
    const Batch wanted = data->walk({}, all_of)->next();
    const auto& good = std::get<PairBatch>(wanted.part);
    // the second pair's target, as it lies in the shard: a changed bit is an error by its checksum
    const std::string path = folder_ / "train-00000.h5";
    std::string bytes = read_file(path);
    std::vector<std::uint16_t> ids;
    std::vector<std::int32_t> source, target;
    PairShard(path).read(1, source, target);
    ids.assign(target.begin(), target.end());
    const std::size_t at = bytes.find(std::string(reinterpret_cast<const char*>(ids.data()), 2 * ids.size()));
    ASSERT_NE(at, std::string::npos);
    bytes[at] ^= 1;
    write_file_atomic(FileSystem::real(), path, bytes);

    const std::unique_ptr<TrainingData> damaged = open_training_data(data_, small_pair_config());
    const Batch found = damaged->walk({}, all_of)->next();
    ASSERT_TRUE(found.unread);
    EXPECT_THROW(std::rethrow_exception(found.unread), DataError);
    EXPECT_EQ(found.samples, wanted.samples);
    EXPECT_EQ(found.target_tokens, wanted.target_tokens);
    const auto& blank = std::get<PairBatch>(found.part);
    EXPECT_EQ(blank.source_offsets, good.source_offsets);
    EXPECT_EQ(blank.target_offsets, good.target_offsets);
    EXPECT_EQ(blank.source.size(), good.source.size());
    EXPECT_EQ(blank.inputs.size(), good.inputs.size());
    EXPECT_EQ(blank.targets.size(), good.targets.size());
}

TEST_F(TrainingDataTest, LongPairsAreAnErrorUnlessDroppedOrCut) {
    EXPECT_THROW(pairs({{"model.context", "8"}}), DataError);
    const auto dropped = pairs({{"model.context", "8"}, {"train.long-pairs", "drop"}});
    ASSERT_EQ(dropped->notices().size(), 2u);
    EXPECT_NE(dropped->notices()[1].find("left out"), std::string::npos) << dropped->notices()[1];
    const auto cut = pairs({{"model.context", "8"}, {"train.long-pairs", "truncate"}});
    ASSERT_EQ(cut->notices().size(), 2u);
    EXPECT_NE(cut->notices()[1].find("cut"), std::string::npos) << cut->notices()[1];
    ASSERT_EQ(pairs()->notices().size(), 1u);
    EXPECT_TRUE(pairs()->notices()[0].starts_with("100 pairs an epoch, ")) << pairs()->notices()[0];
}

TEST_F(TrainingDataTest, ValidationCoversEverySampleOnceInOrder) {
    data_ =
        small_folder(folder_.path(), {}, write_small_pairs(folder_.path(), "valid", 1500), DataKind::kPairs);
    const ModelConfig model = small_pair_config().model;
    const auto data = open_validation_data(data_, model, LongPairs::kError, 0);
    EXPECT_EQ(data->samples(), 1500);
    EXPECT_GT(data->passes().size(), 2u);
    std::vector<std::int32_t> sources, wanted;
    for (std::size_t pass = 0; pass < data->passes().size(); ++pass) {
        const Batch batch = data->read(pass);
        EXPECT_EQ(batch.own, data->passes()[pass]);
        EXPECT_EQ(batch.own.begin, pass == 0 ? 0 : data->passes()[pass - 1].end);
        const auto& part = std::get<PairBatch>(batch.part);
        sources.insert(sources.end(), part.source.begin(), part.source.end());
    }
    const PairStream stream(folder_.path(), data_.valid, data_.pair_header());
    for (std::uint64_t pair = 0; pair < stream.pairs(); ++pair) {
        std::vector<std::int32_t> ignored;
        stream.read(pair, wanted, ignored);
        wanted.push_back(SentencePieceIds::kEnd);
    }
    EXPECT_EQ(sources, wanted);
    EXPECT_EQ(open_validation_data(data_, model, LongPairs::kError, 7)->samples(), 7);
}

TEST_F(TrainingDataTest, AFolderOfAnotherKindOrVocabularyIsRefused) {
    text();
    ModelConfig decoder = small_config().model, translator = small_pair_config().model;
    EXPECT_NO_THROW(fit_to_data(decoder, data_));
    EXPECT_THROW(fit_to_data(translator, data_), DataError);
    data_.kind = DataKind::kPairs;
    EXPECT_THROW(fit_to_data(decoder, data_), DataError);
    EXPECT_NO_THROW(fit_to_data(translator, data_));
    data_.source_header.vocab_size = 21;
    EXPECT_THROW(fit_to_data(translator, data_), DataError);
    translator.source_vocabulary = 0;
    fit_to_data(translator, data_);
    EXPECT_EQ(translator.source_vocabulary, 21);
}

}  // namespace
}  // namespace skein
