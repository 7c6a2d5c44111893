#include "trainer/run_log.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

class RunLogTest : public testing::Test {
  protected:
    std::string log() const {
        std::ifstream in(folder_ / "log.jsonl");
        return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    }
    /// What is left of `before` when the run goes on from its `step`.
    std::string resumed(const std::string& before, std::int64_t step) {
        std::ofstream(folder_ / "log.jsonl") << before;
        RunLog(folder_.path(), step, [](const std::string& line) { ADD_FAILURE() << line; });
        return log();
    }
    TemporaryFolder folder_;
};

TEST_F(RunLogTest, WritesAnObjectALine) {
    RunLog log_file(folder_.path(), 0, [](const std::string& line) { ADD_FAILURE() << line; });
    StepOutcome outcome;
    outcome.loss = 2.5;
    outcome.learning_rate = 0.001;
    outcome.gradient_norm = 1.25;
    outcome.tokens = 64;
    outcome.samples = 4;
    log_file.step(1, outcome, 0.5);
    log_file.evaluation(1, {2.0, 0.25, 100});
    EXPECT_EQ(
        log().substr(0, log().find('\n')),
        R"({"step":1,"loss":2.5,"learning_rate":0.001,"gradient_norm":1.25,"tokens":64,"samples":4,"seconds":0.5,)"
        R"("tokens_per_second":128.0})");
    EXPECT_NE(log().find(R"({"step":1,"valid_loss":2.0,"valid_tokens":100,)"), std::string::npos) << log();
}

TEST_F(RunLogTest, HasTheHashesOfTheParametersWhereTheyWereAskedFor) {
    RunLog log_file(folder_.path(), 0, [](const std::string& line) { ADD_FAILURE() << line; });
    log_file.step(1, {}, 0.5);
    EXPECT_EQ(log().find("parameters"), std::string::npos) << log();
    log_file.step(2, {}, 0.5, std::nullopt, "0123456789abcdef");
    EXPECT_NE(log().find(R"("parameters":"0123456789abcdef")"), std::string::npos) << log();

    Stream stream(1);
    ParameterList parameters;
    for (const char* name : {"b", "a"}) parameters.add(stream, 1, name, {3}, InitialValues::ones());
    log_file.hashes(2, parameters, {16, 255});
    std::ifstream in(folder_ / "hashes.jsonl");
    std::string line;
    std::getline(in, line);
    EXPECT_EQ(line, R"({"step":2,"parameters":")" + digest_of_all(parameters, {16, 255}) +
                        R"(","tensors":{"b":"0000000000000010","a":"00000000000000ff"}})");
}

TEST_F(RunLogTest, DropsHashesAfterTheResumedStep) {
    std::ofstream(folder_ / "hashes.jsonl") << "{\"step\":1}\n{\"step\":3}\n";
    resumed("", 2);
    std::ifstream in(folder_ / "hashes.jsonl");
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "{\"step\":1}\n");
}

TEST_F(RunLogTest, HasTheUtilisationWhereItIsKnown) {
    RunLog log_file(folder_.path(), 0, [](const std::string& line) { ADD_FAILURE() << line; });
    log_file.step(1, {}, 0.5);
    EXPECT_EQ(log().find("utilisation"), std::string::npos) << log();
    log_file.step(2, {}, 0.5, 0.375);
    EXPECT_NE(log().find(R"("utilisation":0.375)"), std::string::npos) << log();
}

TEST_F(RunLogTest, DropsLinesAfterTheResumedStep) {
    EXPECT_EQ(resumed("{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n", 2), "{\"step\":1}\n{\"step\":2}\n");
    EXPECT_EQ(resumed("{\"step\":1}\n{\"step\":2}\n", 2), "{\"step\":1}\n{\"step\":2}\n");
    EXPECT_EQ(resumed("{\"step\":1}\n", 0), "");
}

TEST_F(RunLogTest, DropsEvaluationsAfterTheResumedStepAsWell) {
    const std::string kept = "{\"step\":2}\n{\"step\":2,\"valid_loss\":3.0}\n";
    EXPECT_EQ(resumed(kept + "{\"step\":4}\n{\"step\":4,\"valid_loss\":2.0}\n", 2), kept);
}

TEST_F(RunLogTest, DropsWhatIsNoWholeLine) {
    EXPECT_EQ(resumed("{\"step\":1}\n{\"step\":2,\"lo", 9), "{\"step\":1}\n");
    EXPECT_EQ(resumed("{\"step\":1}\n{\"step\":2}", 9), "{\"step\":1}\n") << "its newline is missing";
    EXPECT_EQ(resumed("{\"step\":1}\nnoise\n[1]\n{\"step\":\"2\"}\n{\"step\":2}\n", 9),
              "{\"step\":1}\n{\"step\":2}\n");
}

}  // namespace
}  // namespace skein
