// A small encoder-decoder learns a toy language through the program, and then translates: a test that fails
// when any part from text to ids to model to beam search to text does.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "tests/support/program.h"

namespace skein {
namespace {

using Lines = std::vector<std::string>;

/// The words of the two languages; a translation has them in reverse order.
constexpr std::pair<const char*, const char*> kWords[] = {{"goose", "gans"}, {"water", "wasser"},
                                                          {"wide", "weit"},  {"today", "heute"},
                                                          {"south", "sued"}, {"wind", "luft"}};

/// Every sentence of three different words whose first is not the last of the list: source and target.
std::pair<Lines, Lines> all_pairs() {
    Lines sources, targets;
    const auto words = std::size(kWords);
    for (std::size_t n = 0; n < words * words * words; ++n) {
        const std::size_t a = n % words, b = n / words % words, c = n / words / words;
        if (a == b || b == c || a == c) continue;
        sources.push_back(std::string(kWords[a].first) + " " + kWords[b].first + " " + kWords[c].first);
        targets.push_back(std::string(kWords[c].second) + " " + kWords[b].second + " " + kWords[a].second);
    }
    return {sources, targets};
}

std::string joined(const Lines& lines) {
    std::string out;
    for (const std::string& line : lines) out += line + "\n";
    return out;
}

class Translate : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        shared_ = new TemporaryFolder;
        std::tie(sources_, targets_) = all_pairs();
        write(*shared_ / "source", joined(sources_));
        write(*shared_ / "target", joined(targets_));
        const Outcome prepared =
            run_skein(words("prepare --vocab 320 --valid-fraction 0.05 --source " + (*shared_ / "source") +
                            " --target " + (*shared_ / "target") + " --out " + (*shared_ / "data")));
        ASSERT_EQ(prepared.code, 0) << prepared.errors;
        const Outcome trained = run_skein(words(
            "train --data " + (*shared_ / "data") + " --out " + (*shared_ / "run") +
            " --model.kind encoder-decoder --model.layers 1 --model.heads 2 --model.width 32 --model.ff 64"
            " --model.context 32 --model.dropout 0 --train.batch 30 --train.steps 300 --train.seed 1"
            " --schedule.kind constant --schedule.peak 0.005 --schedule.warmup 20 --parallel.threads 1"
            " --eval.every 0 --checkpoint.every 0"));
        ASSERT_EQ(trained.code, 0) << trained.errors;
    }
    static void TearDownTestSuite() { delete shared_; }

    Outcome translate(const std::string& input, const std::string& more = "") {
        write(folder_ / "input", input);
        const Outcome outcome =
            run_skein(words("translate --device cpu --checkpoint " + (*shared_ / "run") + " " + more), 1,
                      "exec <'" + (folder_ / "input") + "';");
        EXPECT_EQ(outcome.code, 0) << outcome.errors;
        return outcome;
    }

    static TemporaryFolder* shared_;
    static Lines sources_, targets_;
    TemporaryFolder folder_;
};
TemporaryFolder* Translate::shared_;
Lines Translate::sources_, Translate::targets_;

TEST_F(Translate, WhatWasLearnedIsTranslatedGreedilyAndByBeams) {
    // the first ones were trained on
    const Lines some(sources_.begin(), sources_.begin() + 60),
        wanted(targets_.begin(), targets_.begin() + 60);
    for (const char* beams : {"1", "4"}) {
        const Outcome outcome = translate(joined(some), std::string("--beams ") + beams);
        EXPECT_EQ(lines_of(outcome.out), wanted) << beams << " beams";
        EXPECT_EQ(outcome.errors, "");
    }
    const Outcome sampled = run_skein(
        {"generate", "--checkpoint", *shared_ / "run", "--prompt", sources_[7], "--temperature", "0"});
    EXPECT_EQ(sampled.out, targets_[7] + "\n") << sampled.errors;
}

TEST_F(Translate, ALineIsTheSameOnAnyThreadsInAnyChunkAndCompany) {
    Lines lines = sources_;
    for (std::size_t i = 0; i < lines.size(); i += 3)
        lines[i] += " " + lines[i + 1];  // of two lengths, and untrained
    const Outcome all = translate(joined(lines), "--parallel.threads 1");
    const Lines wanted = lines_of(all.out);
    ASSERT_EQ(wanted.size(), lines.size());
    EXPECT_EQ(translate(joined(lines), "--parallel.threads 2").out, all.out);
    EXPECT_EQ(translate(joined(lines), "--lines 1").out, all.out);
    EXPECT_EQ(translate(joined(lines), "--lines 7 --parallel.threads 2").out, all.out);

    std::vector<std::size_t> shuffled;  // 7 and the number of lines have no common divisor
    ASSERT_NE(lines.size() % 7, 0u);
    Lines input;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        shuffled.push_back(i * 7 % lines.size());
        input.push_back(lines[shuffled.back()]);
    }
    const Lines found = lines_of(translate(joined(input)).out);
    ASSERT_EQ(found.size(), lines.size());
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i], wanted[shuffled[i]]) << input[i];
}

TEST_F(Translate, BlankAndLongLinesKeepTheirPlaceWithANotice) {
    std::string longest = sources_[0];
    for (int i = 0; i < 20; ++i) longest += " " + sources_[1];
    const Outcome outcome = translate(sources_[0] + "\r\n\n" + longest + "\n" + sources_[1]);
    const Lines found = lines_of(outcome.out);
    ASSERT_EQ(found.size(), 4u);
    EXPECT_EQ(found[0], targets_[0]);
    EXPECT_EQ(found[1], "");
    EXPECT_EQ(found[3], targets_[1]);
    const Lines notices = lines_of(outcome.errors);
    ASSERT_EQ(notices.size(), 2u) << outcome.errors;
    EXPECT_EQ(notices[0], "skein translate: line 2 is blank, and so is its translation");
    EXPECT_TRUE(notices[1].starts_with("skein translate: line 3 is cut: with its end it has ")) << notices[1];
    EXPECT_TRUE(notices[1].ends_with("the model's context is 32")) << notices[1];
}

TEST_F(Translate, TheBestOfALineBeginWithItsTranslation) {
    const Lines best = lines_of(translate(joined({sources_[0], sources_[1]}), "--beams 4 --best 2").out);
    ASSERT_EQ(best.size(), 4u);
    EXPECT_TRUE(best[0].starts_with("0 ||| " + targets_[0] + " ||| -")) << best[0];
    EXPECT_TRUE(best[2].starts_with("1 ||| " + targets_[1] + " ||| -")) << best[2];
}

TEST_F(Translate, InspectShowsTheModelAndItsPairs) {
    const auto run = nlohmann::json::parse(run_skein({"inspect", *shared_ / "run", "--json"}).out);
    EXPECT_EQ(run["good"], true);
    EXPECT_EQ(run["configuration"]["model.kind"], "encoder-decoder");
    EXPECT_TRUE(run["leans_on"].contains("tokenizer"));
    const auto data = nlohmann::json::parse(run_skein({"inspect", *shared_ / "data", "--json"}).out);
    EXPECT_EQ(data["good"], true);
    EXPECT_EQ(data["samples"], "pairs");
    EXPECT_EQ(data["train_pairs"].get<std::size_t>() + data["valid_pairs"].get<std::size_t>(),
              sources_.size());
}

}  // namespace
}  // namespace skein
