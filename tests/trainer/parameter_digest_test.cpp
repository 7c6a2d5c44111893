#include "trainer/parameter_digest.h"

#include <map>
#include <set>
#include <string>

#include "tests/support/thread_ranks.h"
#include "tests/trainer/small_training.h"
#include "trainer/parameter_audit.h"

namespace skein {
namespace {

ParameterDigests wholes_of(Stream& stream, const ParameterList& parameters, Communicator* tensor = nullptr) {
    return digests_of_wholes(parameters, digests_of_parts(stream, parameters), tensor);
}

void flip_bit(const Tensor& tensor, std::size_t byte, int bit) {
    std::byte& at = tensor.raw_span()[byte];
    at ^= std::byte{1} << bit;
}

/// Key-value heads that some ranks have alike; neither vocabulary nor feed-forward divides by the ranks.
const Settings kShared{
    {"model.heads", "4"}, {"model.kv-heads", "2"}, {"model.ff", "68"}, {"model.vocabulary", "37"}};

TEST(ParameterDigest, IsTheSameForEveryNumberOfTensorRanks) {
    for (const char* precision : {"fp32", "bf16"}) {
        const auto digests = [&](const TensorSharing& sharing, Communicator* ranks) {
            Stream stream(1);
            const auto objective = make_objective(stream, small_config(kShared).model, 3, sharing);
            ParameterList& parameters = objective->model().parameters();
            parameters.keep_copies(stream,
                                   dtype_of(from_settings({{"train.precision", precision}}).train.precision));
            const ParameterDigests wholes = wholes_of(stream, parameters, ranks);
            return std::pair(wholes, digest_of_all(parameters, wholes));
        };
        const auto wanted = digests({}, nullptr);
        for (const int ranks : {2, 4})
            on_ranks(ranks, [&](Communicator& tensor) {
                TensorGroup group(tensor);
                EXPECT_EQ(digests({&group}, &tensor), wanted) << precision << " on " << ranks;
            });
    }
}

TEST(ParameterDigest, IsTheSameForEveryNumberOfDataRanksWithASharedOptimizerOrWithout) {
    for (const char* precision : {"fp32", "bf16"}) {
        const auto trained = [&](const char* zero, Communicator* data) {
            Training rank(small_config({{"train.precision", precision}, {"parallel.zero", zero}}), 2, data);
            for (int step = 0; step < 3; ++step) rank.run(step);
            return wholes_of(rank.stream, rank.parameters());
        };
        const ParameterDigests wanted = trained("0", nullptr);
        for (const char* zero : {"0", "1"})
            for (const int ranks : {2, 3})
                on_ranks(ranks, [&](Communicator& data) {
                    EXPECT_EQ(trained(zero, &data), wanted) << precision << ", zero " << zero;
                });
    }
}

TEST(ParameterDigest, OneFlippedBitChangesThatTensorsAlone) {
    Training training(small_config());
    ParameterList& parameters = training.parameters();
    const ParameterDigests before = wholes_of(training.stream, parameters);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        flip_bit(parameters[i].leaf.value, parameters[i].leaf.value.bytes() / 2, 0);
        const ParameterDigests after = wholes_of(training.stream, parameters);
        for (std::size_t k = 0; k < after.size(); ++k) EXPECT_EQ(after[k] != before[k], k == i);
        EXPECT_NE(digest_of_all(parameters, after), digest_of_all(parameters, before));
        flip_bit(parameters[i].leaf.value, parameters[i].leaf.value.bytes() / 2, 0);
    }
    EXPECT_EQ(wholes_of(training.stream, parameters), before);
}

TEST(ParameterDigest, IsOfWhatForwardReads) {
    Training training(small_config({{"train.precision", "bf16"}}));
    ParameterList& parameters = training.parameters();
    const Leaf& leaf = parameters[0].leaf;
    ASSERT_TRUE(leaf.copy);
    const ParameterDigests before = wholes_of(training.stream, parameters);
    flip_bit(leaf.value, 0, 0);  // the master value's last bit, which the copy does not have
    EXPECT_EQ(wholes_of(training.stream, parameters), before);
    flip_bit(leaf.copy, 0, 0);
    EXPECT_NE(wholes_of(training.stream, parameters), before);
}

TEST(ParameterDigest, OfAllIsAFunctionOfNamesAndDigestsNotOfTheirOrder) {
    Stream stream(1);
    const auto list = [&](std::vector<std::string> names) {
        auto parameters = std::make_unique<ParameterList>();
        for (const std::string& name : names) parameters->add(stream, 1, name, {3}, InitialValues::ones());
        return parameters;
    };
    const std::string wanted = digest_of_all(*list({"a", "a.b", "c"}), {1, 2, 3});
    EXPECT_EQ(wanted.size(), 16u);
    EXPECT_EQ(digest_of_all(*list({"c", "a", "a.b"}), {3, 1, 2}), wanted);
    EXPECT_NE(digest_of_all(*list({"a", "a.b", "c"}), {2, 1, 3}), wanted);
    EXPECT_NE(digest_of_all(*list({"a", "a.b", "d"}), {1, 2, 3}), wanted);
}

TEST(ParameterDigest, IsWrittenWithAllItsDigits) {
    EXPECT_EQ(digest_text(0xAB), "00000000000000ab");
    EXPECT_EQ(digest_text(~std::uint64_t{0}), "ffffffffffffffff");
}

/// What an audit says where these ranks have a flipped bit in these of the replicated tensors.
std::string audit(int ranks, const std::map<int, std::size_t>& flips, const char* precision = "fp32") {
    std::vector<std::string> said(static_cast<std::size_t>(ranks));
    on_ranks(ranks, [&](Communicator& data) {
        Training rank(small_config({{"train.precision", precision}, {"parallel.lanes", "8"}}), 3, &data);
        rank.run(0);
        const std::vector<ReplicatedTensor> state =
            replicated_state(rank.parameters(), rank.step.optimizer(), false);
        if (const auto flip = flips.find(data.rank()); flip != flips.end())
            flip_bit(state.at(flip->second).value, 0, data.rank() % 8);
        said[static_cast<std::size_t>(data.rank())] = difference_of_replicas(
            rank.stream, state, data, "rank " + std::to_string(2 * data.rank()) + " on host");
    });
    for (const std::string& line : said) EXPECT_EQ(line, said[0]);
    return said[0];
}

std::vector<std::string> audited_names(const char* precision) {
    Training one(small_config({{"train.precision", precision}}));
    std::vector<std::string> names;
    for (const ReplicatedTensor& tensor : replicated_state(one.parameters(), one.step.optimizer(), false))
        names.push_back(tensor.name);
    return names;
}

TEST(ParameterAudit, LooksAtAllThatIsSavedOfAnyOneRank) {
    for (const char* precision : {"fp32", "bf16"}) {
        const std::vector<std::string> names = audited_names(precision);
        std::set<std::string> kinds;
        for (std::size_t i = 0; i < names.size(); ++i) {
            const std::string kind =
                names[i].substr(0, names[i].find('/')) + (names[i].ends_with(" in 16 bits") ? "16" : "");
            if (!kinds.insert(kind).second) continue;
            const std::string line = audit(3, {{1, i}}, precision);
            EXPECT_TRUE(line.starts_with("rank 2 on host differs from the 2 others, first in " + names[i] +
                                         ", whose hash is "))
                << line;
        }
        EXPECT_EQ(kinds.size(), precision == std::string("fp32") ? 3u : 4u);
    }
}

TEST(ParameterAudit, HasNothingToSayOfEqualReplicas) {
    EXPECT_EQ(audit(1, {}), "");
    EXPECT_EQ(audit(4, {}), "");
}

TEST(ParameterAudit, NamesTheRanksThatDifferFromMostAndTheFirstTensor) {
    const std::vector<std::string> names = audited_names("fp32");
    for (const int odd : {0, 1, 2}) {
        const std::string line = audit(3, {{odd, 4}});
        const std::string wanted = "rank " + std::to_string(2 * odd) +
                                   " on host differs from the 2 others, first in " + names[4] +
                                   ", whose hash is ";
        EXPECT_TRUE(line.starts_with(wanted)) << line;
    }
    const std::string line = audit(5, {{1, 6}, {4, 2}});
    EXPECT_TRUE(line.starts_with("rank 2 on host and rank 8 on host differ from the 3 others, first in " +
                                 names[2] + ", whose hash is "))
        << line;
}

TEST(ParameterAudit, NamesAllWhereNoneIsInTheMajority) {
    EXPECT_TRUE(audit(2, {{1, 3}}).starts_with("rank 0 on host and rank 2 on host differ, first in "));
    EXPECT_TRUE(audit(4, {{1, 3}, {2, 3}, {3, 3}})
                    .starts_with("rank 0 on host, rank 2 on host, rank 4 on host and rank 6 on host differ"));
}

}  // namespace
}  // namespace skein
