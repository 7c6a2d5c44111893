// The program on a GPU. Here the GPU is the one of tests/support, on the CPU; what the program does with it
// is what it does with any.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/support/program.h"

namespace skein {
namespace {

using Json = nlohmann::json;

class OnDevice : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        folder_ = new TemporaryFolder;
        write(*folder_ / "text.txt", pseudo_text(3'000));
        EXPECT_EQ(run_skein({"prepare", "--text", *folder_ / "text.txt", "--tokenizer", "chars",
                             "--valid-fraction", "0.1", "--out", *folder_ / "text"})
                      .code,
                  0);
        std::string source, target;
        const std::vector<std::string> all = words(pseudo_text(3'000));
        for (std::size_t i = 0; i + 1 < all.size(); i += 2) {
            source += all[i] + " " + all[i + 1] + "\n";
            target += all[i + 1] + " " + all[i] + "\n";
        }
        write(*folder_ / "source.txt", source);
        write(*folder_ / "target.txt", target);
        EXPECT_EQ(
            run_skein({"prepare", "--source", *folder_ / "source.txt", "--target", *folder_ / "target.txt",
                       "--valid-source", *folder_ / "source.txt", "--valid-target", *folder_ / "target.txt",
                       "--tokenizer", "sentencepiece", "--vocab", "320", "--out", *folder_ / "pairs"})
                .code,
            0);
    }
    static void TearDownTestSuite() { delete folder_; }

    static std::string folder(const std::string& name) { return *folder_ / name; }

    /// `skein train` of a small model into the folder `out`.
    static Outcome train(const std::string& out, const std::string& options, int ranks = 1,
                         const std::string& before = "", const std::string& data = "text") {
        std::string line = "train --data " + folder(data) + " --out " + folder(out) +
                           " --model.width 16 --model.heads 2 --model.context 16"
                           " --train.batch 4 --parallel.lanes 4 --model.dropout 0.1 --eval.every 3"
                           " --eval.samples 3 --checkpoint.every 3 --checkpoint.keep 9 ";
        if (options.find("--train.steps") == std::string::npos) line += "--train.steps 6 ";
        line += data == "pairs"
                    ? "--model.kind encoder-decoder --model.encoder-layers 1 --model.decoder-layers 1 "
                    : "--model.layers 1 ";
        return run_skein(words(line + options), ranks, before);
    }
    static Json inspected(const std::string& out) {
        return Json::parse(run_skein({"inspect", folder(out), "--json"}).out);
    }
    static std::vector<double> losses(const std::string& out) {
        std::vector<double> all;
        for (const std::string& line : lines_of(contents(folder(out) + "/log.jsonl"))) {
            const Json json = Json::parse(line);
            all.push_back(json.contains("loss") ? json["loss"] : json["valid_loss"]);
        }
        return all;
    }
    static void expect_same_run(const std::string& one, const std::string& other) {
        EXPECT_EQ(inspected(one)["parameters"], inspected(other)["parameters"]);
        EXPECT_EQ(inspected(one)["state"], inspected(other)["state"]);
        EXPECT_EQ(losses(one), losses(other));
    }

  private:
    static TemporaryFolder* folder_;
};
TemporaryFolder* OnDevice::folder_ = nullptr;

TEST_F(OnDevice, WithoutAGpuAutoFallsBackInOneLineAndCudaIsAnError) {
    const std::string none = "export SKEIN_SHIM_GPUS=0;";
    const Outcome asked = train("none", "--device cuda", 1, none);
    EXPECT_EQ(asked.code, 71);
    EXPECT_EQ(asked.own_lines(),
              std::vector<std::string>{
                  "skein train: --device cuda: no GPU was found; wanted a GPU, or --device cpu"});
    const Outcome fallen = train("fallen", "--device auto --train.steps 1", 1, none);
    EXPECT_EQ(fallen.code, 0) << fallen.errors;
    EXPECT_NE(fallen.errors.find("no GPU is used: no GPU was found; computing on the CPU\n"),
              std::string::npos)
        << fallen.errors;
    const Outcome one_without = train("half", "--device cuda", 2,
                                      "if [ $OMPI_COMM_WORLD_RANK = 1 ]; then export SKEIN_SHIM_GPUS=0; fi;");
    EXPECT_EQ(one_without.code, 71);
    EXPECT_NE(one_without.errors.find("no GPU was found (rank 1 on "), std::string::npos)
        << one_without.errors;
}

TEST_F(OnDevice, TrainingGoesAsOnTheCpu) {
    for (const std::string data : {"text", "pairs"})
        for (const std::string precision : {"fp32", "bf16", "fp16"}) {
            SCOPED_TRACE(data + " " + precision);
            const std::string name = data + "-" + precision, options = "--train.precision " + precision;
            const Outcome on_cpu = train("cpu-" + name, "--device cpu " + options, 1, "", data);
            ASSERT_EQ(on_cpu.code, 0) << on_cpu.errors;
            const Outcome on_gpu = train("gpu-" + name, "--device cuda " + options, 1, "", data);
            ASSERT_EQ(on_gpu.code, 0) << on_gpu.errors;
            const std::vector<double> wanted = losses("cpu-" + name), found = losses("gpu-" + name);
            ASSERT_EQ(found.size(), wanted.size());
            // sums in another order; in 16 bits some are rounded once more, a few thousandths each
            const double tolerance = precision == "fp32" ? 1e-5 : precision == "fp16" ? 2e-3 : 1e-2;
            for (std::size_t i = 0; i < wanted.size(); ++i)
                EXPECT_NEAR(found[i], wanted[i], tolerance * wanted[i]);
        }
}

TEST_F(OnDevice, Tf32IsUsedWhereItIsAskedForAlone) {
    const std::string options = "--device cuda --train.tf32 ";
    ASSERT_EQ(train("no-tf32", options + "false").code, 0);
    const Outcome outcome = train("tf32", options + "true");
    ASSERT_EQ(outcome.code, 0) << outcome.errors;
    const std::vector<double> without = losses("no-tf32"), with = losses("tf32");
    EXPECT_NE(with, without);
    ASSERT_EQ(with.size(), without.size());
    for (std::size_t i = 0; i < with.size(); ++i)  // an operand is off by 2^-11 at most
        EXPECT_NEAR(with[i], without[i], 2e-3 * without[i]);
    EXPECT_EQ(train("cpu-tf32", "--device cpu --train.tf32 true").code, 64);
}

TEST_F(OnDevice, SameBitsOnAnyNumberOfRanksAndAfterARestart) {
    for (const std::string precision : {"fp32", "fp16"}) {
        SCOPED_TRACE(precision);
        // from a scale that overflows at first
        const std::string options =
            "--device cuda --train.loss-scale-start 4294967296 --train.precision " + precision;
        const std::string one = "one-" + precision;
        ASSERT_EQ(train(one, options).code, 0);
        ASSERT_EQ(train("again-" + precision, options).code, 0);
        expect_same_run("again-" + precision, one);
        for (const int ranks : {2, 3}) {
            const std::string several = std::to_string(ranks) + "-" + precision;
            const std::string zero = ranks == 3 ? " --parallel.zero 1" : "";
            const Outcome outcome = train(several, options + zero + " --parallel.transport mpi", ranks);
            ASSERT_EQ(outcome.code, 0) << outcome.errors;
            expect_same_run(several, one);
        }
        const std::string parts = "parts-" + precision;
        ASSERT_EQ(train(parts, options + " --parallel.zero 1 --train.steps 3 --schedule.horizon 6", 2).code,
                  0);
        ASSERT_EQ(train(parts, options + " --schedule.horizon 6", 1).code, 0);
        EXPECT_EQ(inspected(parts)["parameters"], inspected(one)["parameters"]);
    }
}

TEST_F(OnDevice, NcclGivesTheBitsOfMpi) {
    const std::string before = "export NCCL_HOSTID=host-$OMPI_COMM_WORLD_RANK;";
    const Outcome one = train("mpi", "--device cuda");
    ASSERT_EQ(one.code, 0) << one.errors;
    for (const std::string zero : {"0", "1"}) {
        const std::string options = "--device cuda --parallel.transport nccl --parallel.zero " + zero;
        const Outcome two = train("nccl-" + zero, options, 2, before);
        ASSERT_EQ(two.code, 0) << two.errors;
        expect_same_run("nccl-" + zero, "mpi");
    }
}

TEST_F(OnDevice, TensorParallelRanksTrainAsOnTheCpu) {
    const std::string grid = " --parallel.tensor 2 --parallel.sequence true --train.recompute block";
    for (const std::string data : {"text", "pairs"}) {
        SCOPED_TRACE(data);
        const Outcome on_cpu = train("cpu-grid-" + data, "--device cpu" + grid, 2, "", data);
        ASSERT_EQ(on_cpu.code, 0) << on_cpu.errors;
        const std::vector<double> wanted = losses("cpu-grid-" + data);
        for (const std::string transport : {"mpi", "nccl"}) {
            const std::string name = transport + "-grid-" + data;
            const Outcome on_gpu = train(name, "--device cuda" + grid + " --parallel.transport " + transport,
                                         2, "export NCCL_HOSTID=$OMPI_COMM_WORLD_RANK;", data);
            ASSERT_EQ(on_gpu.code, 0) << on_gpu.errors;
            const std::vector<double> found = losses(name);
            ASSERT_EQ(found.size(), wanted.size());
            for (std::size_t i = 0; i < wanted.size(); ++i)
                EXPECT_NEAR(found[i], wanted[i], 1e-5 * wanted[i]) << transport << " " << i;
        }
        expect_same_run("mpi-grid-" + data, "nccl-grid-" + data);
    }
}

TEST_F(OnDevice, EvaluatesAndGeneratesAsOnTheCpu) {
    ASSERT_EQ(train("model", "--device cuda").code, 0);
    const auto evaluated = [](const std::string& device) {
        const Outcome outcome =
            run_skein({"evaluate", "--checkpoint", folder("model"), "--data", folder("text"),
                       "--eval.samples", "3", "--device", device, "--json"});
        EXPECT_EQ(outcome.code, 0) << outcome.errors;
        return Json::parse(outcome.out);
    };
    const Json on_gpu = evaluated("cuda"), on_cpu = evaluated("cpu");
    EXPECT_NEAR(on_gpu["valid_loss"].get<double>(), on_cpu["valid_loss"].get<double>(), 1e-5);
    EXPECT_EQ(on_gpu["valid_tokens"], on_cpu["valid_tokens"]);
    const auto generated = [](const std::string& device) {
        return run_skein({"generate", "--checkpoint", folder("model"), "--prompt", "ba", "--tokens", "5",
                          "--temperature", "0", "--device", device})
            .out;
    };
    EXPECT_EQ(generated("cuda"), generated("cpu"));
    EXPECT_GT(generated("cuda").size(), 3u);
}

}  // namespace
}  // namespace skein
