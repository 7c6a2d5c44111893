#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/temporary_folder.h"

namespace skein {
namespace {

struct Outcome {
    int code = -1;
    std::string out;
    std::string errors;
};

std::string contents(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
}

/// Runs `skein ARGUMENTS` in a shell.
Outcome skein(const std::string& arguments) {
    const TemporaryFolder folder;
    const std::string command = std::string("'") + SKEIN_PROGRAM + "' " + arguments + " >'" +
                                (folder / "out") + "' 2>'" + (folder / "errors") + "' </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, contents(folder / "out"),
            contents(folder / "errors")};
}

/// One line, and nothing on stdout.
void expect_one_line(const Outcome& outcome, int code, const std::string& start) {
    EXPECT_EQ(outcome.code, code) << outcome.errors;
    EXPECT_EQ(outcome.errors.substr(0, start.size()), start);
    EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1) << outcome.errors;
}

std::string sentences(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "The goose number " + std::to_string(i) + " flies south.\n";
    return text;
}

TEST(Program, HelpListsTheCommands) {
    const Outcome help = skein("--help");
    EXPECT_EQ(help.code, 0);
    EXPECT_NE(help.out.find("prepare"), std::string::npos);
    EXPECT_NE(help.out.find("inspect"), std::string::npos);
    EXPECT_EQ(skein("").code, 64) << "no command at all is no success";
}

TEST(Program, EveryCommandHasHelp) {
    EXPECT_NE(skein("prepare --help").out.find("--tokenizer NAME (=sentencepiece)"), std::string::npos);
    EXPECT_NE(skein("inspect --help").out.find("--json"), std::string::npos);
    EXPECT_EQ(skein("inspect --help").code, 0);
}

TEST(Program, VersionListsAllLibraries) {
    const Outcome version = skein("--version");
    EXPECT_EQ(version.code, 0);
    for (const char* library : {"skein", "MPI", "HDF5", "OpenBLAS", "Boost", "SentencePiece", "xxHash",
                                "zlib", "nlohmann-json", "CUDA", "NCCL"}) {
        EXPECT_NE(version.out.find(library), std::string::npos) << library;
    }
    EXPECT_EQ(version.out.find("unknown"), std::string::npos) << version.out;
}

TEST(Program, WrongUsageIsOneLineAndCode64) {
    expect_one_line(skein("prepair --text x"), 64, "skein: unknown command 'prepair': did you mean prepare?");
    expect_one_line(skein("prepare --txt x"), 64,
                    "skein prepare: unknown option --txt: did you mean --text?");
    expect_one_line(skein("prepare --text x"), 64,
                    "skein prepare: option --out is missing, wanted --out DIR");
    expect_one_line(skein("prepare --text x --out y --valid-fraction 2"), 64,
                    "skein prepare: option --valid-fraction: found '2', allowed is a number from 0 to");
    expect_one_line(
        skein("prepare --text x --out y --tokenizer words"), 64,
        "skein prepare: option --tokenizer: found 'words', allowed is bytes, chars or sentencepiece");
    expect_one_line(skein("prepare --text x --out y --tokenizer chars --vocab 9"), 64,
                    "skein prepare: option --vocab: only for --tokenizer sentencepiece");
    expect_one_line(skein("inspect"), 64, "skein inspect: found no folder");
    expect_one_line(skein("inspect a b"), 64, "skein inspect: unexpected argument 'b'");
}

TEST(Program, WhatIsMissingIsCode66) {
    const TemporaryFolder folder;
    expect_one_line(skein("prepare --text '" + (folder / "none") + "' --out '" + (folder / "data") + "'"), 66,
                    "skein prepare: ");
    expect_one_line(skein("inspect '" + (folder / "none") + "'"), 66, "skein inspect: ");
    expect_one_line(skein("inspect '" + folder.path() + "'"), 66, "skein inspect: ");
}

TEST(Program, TextThatIsNoTextIsCode65) {
    const TemporaryFolder folder;
    write(folder / "empty.txt", "");
    write(folder / "latin.txt", "caf\xe9 au lait\n");
    for (const char* name : {"empty.txt", "latin.txt"}) {
        const Outcome outcome = skein("prepare --tokenizer chars --text '" + (folder / name) + "' --out '" +
                                      (folder / "data") + "'");
        expect_one_line(outcome, 65, "skein prepare: ");
        EXPECT_NE(outcome.errors.find(name), std::string::npos) << outcome.errors;
    }
}

TEST(Program, PairsArePreparedWithCountsOfWhatWasDroppedAndInspected) {
    const TemporaryFolder folder;
    const std::string data = folder / "data";
    write(folder / "source", sentences(300) + "\n");
    write(folder / "target", sentences(300) + "ende\n");
    const std::string command = "prepare --source '" + (folder / "source") + "' --target '" +
                                (folder / "target") + "' --vocab 300 --out '" + data + "'";
    const Outcome prepared = skein(command);
    ASSERT_EQ(prepared.code, 0) << prepared.errors;
    EXPECT_NE(prepared.out.find("vocabulary 300 (sentencepiece), dropped valid-empty 1"), std::string::npos)
        << prepared.out;
    const auto json = nlohmann::json::parse(skein("inspect --json '" + data + "'").out);
    EXPECT_EQ(json["samples"], "pairs");
    EXPECT_EQ(json["joint"], true);
    EXPECT_EQ(json["train_pairs"], 270);
    EXPECT_EQ(json["valid_pairs"], 30);
    EXPECT_EQ(json["dropped"]["valid-empty"], 1);

    expect_one_line(skein(command + " --empty error"), 65,
                    "skein prepare: pairs: pair 301 has an empty source");
    expect_one_line(skein(command + " --text x"), 64, "skein prepare: option --text: only for text without");
    expect_one_line(skein(command + " --tokenizer chars"), 64,
                    "skein prepare: option --tokenizer: found 'chars'");
    expect_one_line(skein(command + " --source-vocab 300"), 64,
                    "skein prepare: option --source-vocab: only for --separate");
    expect_one_line(skein("prepare --source x --out y"), 64, "skein prepare: option --target is missing");
    expect_one_line(skein("prepare --text x --out y --max-ratio 2"), 64,
                    "skein prepare: option --max-ratio: only for --source and --target");
    expect_one_line(skein("prepare --out y"), 64, "skein prepare: option --text is missing");
    write(folder / "target", sentences(299));
    expect_one_line(skein(command), 65, "skein prepare: pairs: ");
}

TEST(Program, PreparedTextInspectsWellUntilAByteIsFlipped) {
    const TemporaryFolder folder;
    const std::string data = folder / "data";
    const std::string text = sentences(300);
    write(folder / "text.txt", text);
    const Outcome prepared =
        skein("prepare --tokenizer bytes --text '" + (folder / "text.txt") + "' --out '" + data + "'");
    ASSERT_EQ(prepared.code, 0) << prepared.errors;
    EXPECT_EQ(prepared.out.substr(0, 9), "prepared ");
    EXPECT_NE(prepared.out.find("vocabulary 256 (bytes)"), std::string::npos) << prepared.out;

    const Outcome good = skein("inspect --json '" + data + "'");
    ASSERT_EQ(good.code, 0) << good.errors;
    const auto json = nlohmann::json::parse(good.out);
    EXPECT_EQ(json["kind"], "data");
    EXPECT_EQ(json["good"], true);
    EXPECT_EQ(json["train_tokens"].get<std::size_t>() + json["valid_tokens"].get<std::size_t>(), text.size());

    std::string shard = contents(data + "/train-00000.h5");
    shard[shard.size() / 2] = static_cast<char>(shard[shard.size() / 2] ^ 16);
    write(data + "/train-00000.h5", shard);
    const Outcome bad = skein("inspect '" + data + "'");
    EXPECT_EQ(bad.code, 65);
    EXPECT_NE(bad.errors.find("train-00000.h5: damaged from byte 0"), std::string::npos) << bad.errors;
    EXPECT_NE(bad.out.find("good: false"), std::string::npos);
}

TEST(Program, BenchByKernelAccountsForTheWholeStep) {
    const Outcome bench = skein("bench --shape gpt-nano --threads 2 --steps 1 --by-kernel --json");
    ASSERT_EQ(bench.code, 0) << bench.errors;
    const auto json = nlohmann::json::parse(bench.out.substr(bench.out.rfind("\n{")));
    const auto& kernels = json["kernels"];
    EXPECT_GT(kernels["copy_bytes_per_second"].get<double>(), 0.0);
    EXPECT_DOUBLE_EQ(kernels["product_flops_per_second"].get<double>(),
                     json["sgemm_gflops"].get<double>() * 1e9);
    double inside = 0.0, gain = 1e300;
    for (const auto& family : kernels["families"]) {
        const double seconds = family["seconds"], over = seconds - family["floor_seconds"].get<double>();
        inside += seconds;
        EXPECT_GT(family["bytes"].get<double>(), 0.0) << family;
        EXPECT_LE(over, gain) << "the most to be gained comes first: " << family;
        gain = over;
        EXPECT_NE(bench.out.find("  " + family["name"].get<std::string>() + " "), std::string::npos)
            << bench.out;
    }
    const double step = kernels["step_seconds"];
    EXPECT_NEAR(inside + kernels["outside_seconds"].get<double>(), step, 1e-9 * step);
    EXPECT_GE(kernels["outside_seconds"].get<double>(), 0.0);
}

}  // namespace
}  // namespace skein
