// What can be wrong with sentence pairs, and with what translates them, ends in one clear line and its exit
// code, on one rank and on two.

#include <gtest/gtest.h>

#include <utility>

#include "data/hdf5_file.h"
#include "tests/launch/changed_bytes.h"
#include "tests/support/refusal.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

/// `count` sentences of two to seven words, another text for another seed.
std::vector<std::string> sentences(std::size_t count, std::size_t seed) {
    const std::vector<std::string> known{"the", "goose", "flies", "south", "over", "wide", "water", "today"};
    std::vector<std::string> out;
    for (std::size_t i = 0; i < count; ++i) {
        std::string line;
        for (std::size_t w = 0; w < 2 + (i + seed) % 6; ++w)
            line += (w == 0 ? "" : " ") + known[(i * 3 + w * (i + seed + 1)) % known.size()];
        out.push_back(line);
    }
    return out;
}

std::string joined(const std::vector<std::string>& lines) {
    std::string out;
    for (const std::string& line : lines) out += line + "\n";
    return out;
}

class PairsInput : public RefusalTest {
  protected:
    static void SetUpTestSuite() {
        RefusalTest::SetUpTestSuite();
        write(*shared_ / "source", joined(sentences(120, 0)));
        write(*shared_ / "target", joined(sentences(120, 1)));
        write(*shared_ / "other", joined(sentences(120, 5)));
        write(*shared_ / "text.txt", pseudo_text(6'000));
        for (const Outcome& outcome :
             {run_skein(prepare(*shared_ / "source", *shared_ / "target", *shared_ / "pairs")),
              run_skein(prepare(*shared_ / "other", *shared_ / "other", *shared_ / "other-pairs")),
              run_skein({"prepare", "--tokenizer", "chars", "--text", *shared_ / "text.txt", "--out",
                         *shared_ / "text"}),
              run_skein(train("pairs", *shared_ / "run")),
              run_skein(train("text", *shared_ / "decoder", "--model.kind decoder"))})
            ASSERT_EQ(outcome.code, 0) << outcome.errors;
    }

    static std::vector<std::string> prepare(const std::string& source, const std::string& target,
                                            const std::string& out) {
        return {"prepare", "--source", source, "--target", target, "--vocab", "290", "--out", out};
    }

    /// An encoder-decoder unless `more` says otherwise; likewise its context and its batch.
    static std::vector<std::string> train(const std::string& data, const std::string& out,
                                          const std::string& more = "") {
        const auto otherwise = [&](const std::string& option, const std::string& value) {
            return more.find(option) == std::string::npos ? " " + option + " " + value : "";
        };
        return words(
            "train --data " + (data[0] == '/' ? data : *shared_ / data) + " --out " + out +
            " --model.layers 1 --model.heads 2 --model.width 16 --train.steps 2 --parallel.threads 1" +
            otherwise("--model.kind", "encoder-decoder") + otherwise("--model.context", "64") +
            otherwise("--train.batch", "4") + " " + more);
    }

    /// `skein translate` of a text.
    Outcome translate(const std::string& checkpoint, const std::string& input,
                      const std::string& before = "") {
        write(folder_ / "input", input);
        return run_skein({"translate", "--checkpoint", checkpoint, "--max-length-extra", "4"}, 1,
                         "exec <'" + (folder_ / "input") + "';" + before);
    }
};

// ---- prepare

TEST_F(PairsInput, SidesOfDifferentLengthAreNamedWithTheirLines) {
    write(folder_ / "short", joined(sentences(119, 1)));
    expect_refused(run_skein(prepare(*shared_ / "source", folder_ / "short", folder_ / "data")), kBadData,
                   {*shared_ / "source has 120 lines", folder_ / "short has 119"});
    EXPECT_FALSE(fs::exists(folder_ / "data"));
}

TEST_F(PairsInput, APairWithAnEmptySideIsDroppedAndCountedOrRefused) {
    std::vector<std::string> source = sentences(120, 0), target = sentences(120, 1);
    source[3] = " ";
    target[7] = "";
    write(folder_ / "source", joined(source));
    write(folder_ / "target", joined(target));
    const auto arguments = prepare(folder_ / "source", folder_ / "target", folder_ / "data");
    const Outcome dropped = run_skein(arguments);
    EXPECT_EQ(dropped.code, 0) << dropped.errors;
    EXPECT_NE(dropped.out.find("dropped empty 2"), std::string::npos) << dropped.out;
    expect_refused(run_skein(arguments + words("--empty error")), kBadData, {"pair 4 has an empty source"});
}

// ---- train

TEST_F(PairsInput, APairLongerThanTheContextIsRefusedDroppedOrCut) {
    expect_refused_on_ranks(train("pairs", folder_ / "run", "--model.context 4"), kBadData,
                            {"pairs: pair 0 has ", " source and ",
                             " target tokens, wanted at most 3 for a context of 4", "--train.long-pairs"});
    EXPECT_FALSE(fs::exists(folder_ / "run/checkpoints"));
    const Outcome cut =
        run_skein(train("pairs", folder_ / "cut", "--model.context 4 --train.long-pairs truncate"));
    EXPECT_EQ(cut.code, 0) << cut.errors;
    EXPECT_NE(cut.errors.find("are cut to --model.context 4"), std::string::npos) << cut.errors;
    expect_refused_on_ranks(train("pairs", folder_ / "run", "--model.context 2 --train.long-pairs drop"),
                            kBadData, {"none is left"});
}

TEST_F(PairsInput, PairsForADecoderAndTextForAnEncoderDecoderAreRefused) {
    expect_refused_on_ranks(
        train("pairs", folder_ / "run", "--model.kind decoder"), kBadData,
        {*shared_ / "pairs", "found a data folder of kind \"pairs\"", "prepare --text", "--model.kind"});
    expect_refused_on_ranks(train("text", folder_ / "run"), kBadData,
                            {*shared_ / "text", "found a data folder of kind \"stream\"",
                             "prepare --source --target", "--model.kind"});
    expect_refused(run_skein({"evaluate", "--checkpoint", *shared_ / "run", "--data", *shared_ / "text"}),
                   kBadData, {*shared_ / "text"});
    expect_refused(
        run_skein({"evaluate", "--checkpoint", *shared_ / "decoder", "--data", *shared_ / "pairs"}), kBadData,
        {*shared_ / "pairs"});
    EXPECT_FALSE(fs::exists(folder_ / "run/checkpoints"));
}

TEST_F(PairsInput, ATokenizerThatIsNotTheShardsIsRefused) {
    const std::string swapped = copy("pairs");
    fs::copy_file(*shared_ / "other-pairs/tokenizer.model", swapped + "/tokenizer.model",
                  fs::copy_options::overwrite_existing);
    expect_refused_on_ranks(train(swapped, folder_ / "run"), kBadData, {swapped + "/tokenizer.model"});
    fs::remove(swapped + "/index.json");  // then it is the shard that knows
    expect_refused_on_ranks(train(swapped, folder_ / "run"), kBadData, {swapped + "/tokenizer.model"});
    // of the same size as the checkpoint's, but another
    expect_refused(
        run_skein({"evaluate", "--checkpoint", *shared_ / "run", "--data", *shared_ / "other-pairs"}),
        kBadData, {*shared_ / "other-pairs", "tokenizer"});
}

TEST_F(PairsInput, DamagedPairsNameTheirFile) {
    for (const char* name : {"train-00000.h5", "valid-00000.h5", "index.json", "tokenizer.model",
                             "valid.source", "valid.target"}) {
        const std::string flipped = copy("pairs");
        ASSERT_TRUE(fs::exists(flipped + "/" + name)) << name;
        flip_byte(flipped + "/" + name, fs::file_size(flipped + "/" + name) / 2);
        expect_refused(run_skein(train(flipped, folder_ / "run")), kBadData, {flipped + "/" + name});
    }
    // without an index it is found when it is read
    for (const char* side : {"/source/tokens", "/target/tokens"}) {
        const std::string flipped = copy("pairs"), shard = flipped + "/train-00000.h5";
        fs::remove(flipped + "/index.json");
        std::vector<std::uint16_t> tokens(32);
        Hdf5File::open_readonly(shard).read<std::uint16_t>(side, 100, tokens);
        const std::size_t at =
            contents(shard).find(std::string(reinterpret_cast<const char*>(tokens.data()), 64));
        ASSERT_NE(at, std::string::npos);
        flip_byte(shard, at);  // one chunk holds all tokens, so any pair finds it
        expect_refused_on_ranks(train(flipped, folder_ / "run"), kBadData, {shard, side});
    }
    EXPECT_FALSE(fs::exists(folder_ / "run/checkpoints"));
}

TEST_F(PairsInput, BatchesByTokensAreForPairsAndHoldTheLongest) {
    expect_refused_on_ranks(train("text", folder_ / "run", "--model.kind decoder --train.batch-tokens 512"),
                            kUsage, {"train.batch-tokens", "decoder"});
    expect_refused_on_ranks(train("pairs", folder_ / "run", "--train.batch-tokens 3"), kUsage,
                            {"train.batch-tokens", "found 3, wanted at least "});
    const Outcome fits = run_skein(train("pairs", folder_ / "run", "--train.batch-tokens 200"));
    EXPECT_EQ(fits.code, 0) << fits.errors;
}

// ---- translate and generate

TEST_F(PairsInput, TranslateWantsAnEncoderDecoderAndGenerateTakesBoth) {
    expect_refused(translate(*shared_ / "decoder", "the goose\n"), kUsage,
                   {*shared_ / "decoder", "holds a decoder", "skein generate"});
    expect_refused(translate(folder_ / "none", "the goose\n"), kMissing, {folder_ / "none"});
    expect_refused(run_skein({"generate", "--checkpoint", folder_ / "none", "--prompt", "a"}), kMissing,
                   {folder_ / "none"});
    for (const char* run : {"run", "decoder"}) {
        const std::vector<std::string> arguments{
            "generate", "--checkpoint", *shared_ / run, "--prompt", "da", "--tokens", "8"};
        const Outcome one = run_skein(arguments + words("--seed 3")),
                      two = run_skein(arguments + words("--seed 3"));
        EXPECT_EQ(one.code, 0) << one.errors;
        EXPECT_EQ(one.out, two.out);
        EXPECT_TRUE(one.out.ends_with("\n"));
        EXPECT_EQ(one.out.starts_with("da"), std::string(run) == "decoder")
            << "a translation is the target alone";
    }
    expect_refused(run_skein({"generate", "--checkpoint", *shared_ / "run", "--prompt", " "}), kUsage,
                   {"--prompt"});
}

TEST_F(PairsInput, ACheckpointWithoutItsTokenizerIsRefused) {
    const std::string run = copy("run");
    fs::remove(run + "/checkpoints/step-00000002/tokenizer.model");
    expect_refused(translate(run + "/checkpoints/step-00000002", "the goose\n"), kBadData,
                   {"tokenizer.model"});
    // trained on ids alone: the checkpoint is good, and still there is nothing to make ids with
    const std::string data = copy("pairs");
    fs::remove(data + "/index.json");
    fs::remove(data + "/tokenizer.model");
    const Outcome trained = run_skein(train(data, folder_ / "ids"));
    ASSERT_EQ(trained.code, 0) << trained.errors;
    expect_refused(translate(folder_ / "ids", "the goose\n"), kBadData, {"holds no tokenizer"});
    expect_refused(run_skein({"generate", "--checkpoint", folder_ / "ids", "--prompt", "a"}), kBadData,
                   {"holds no tokenizer"});
}

TEST_F(PairsInput, LinesThatAreNoTextAndOutputThatIsFullAreRefused) {
    expect_refused(translate(*shared_ / "run", "caf\xe9\nthe goose\n"), kBadData,
                   {"line 1", "byte 3", "UTF-8"});
    const Outcome good = translate(*shared_ / "run", "the goose\n");
    Outcome partly = translate(*shared_ / "run", "the goose\ncaf\xe9\n");
    EXPECT_EQ(std::exchange(partly.out, ""), good.out) << "what comes before is written";
    expect_refused(partly, kBadData, {"line 2", "byte 3", "UTF-8"});
    expect_refused(translate(*shared_ / "run", "the goose\n", "exec >/dev/full;"), kInputOutput, {"write"});
    expect_refused(translate(*shared_ / "run", "the goose\n", "exec >&-;"), kInputOutput, {"write"});
    expect_refused(translate(*shared_ / "run", "", "exec <'" + *shared_ / "run" + "';"), kInputOutput,
                   {"read"});
}

TEST_F(PairsInput, OptionsOfATranslationThatContradictAreRefused) {
    const auto with = [&](const std::string& more) {
        return run_skein(words("translate --checkpoint " + (*shared_ / "run") + " " + more));
    };
    expect_refused(with("--beams 0"), kUsage, {"--beams", "'0'"});
    expect_refused(with("--beams 2 --best 3"), kUsage, {"--best", "1 to 2"});
    expect_refused(with("--length-penalty -1"), kUsage, {"--length-penalty", "'-1'"});
    expect_refused(with("--lines 0"), kUsage, {"--lines"});
    expect_refused(with("--beam 4"), kUsage, {"did you mean --beams?"});
}

}  // namespace
}  // namespace skein
