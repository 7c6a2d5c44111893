// One byte is changed anywhere in a checkpoint or a data folder, and a command loads it: none takes it in
// silence. Either it refuses and names the file; or, of several checkpoints, it passes over the changed one
// with a warning that names the file and does as if that one were not there; or it had no need of those bytes
// and does as if nothing had happened.

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "tests/launch/changed_bytes.h"
#include "tests/support/program.h"

namespace skein {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// What a command does with its input: what it prints, or of a run its log without what a clock says.
struct Result {
    Outcome outcome;
    std::string made;
};

class EveryByteLoaded : public testing::Test {
  protected:
    /// Of a folder whose bytes are changed: how a command loads it. Each is deterministic.
    struct Load {
        std::string name;
        std::function<Result()> run;
        bool passes_over = false;  ///< has another checkpoint to go by
    };
    struct Target {
        std::string folder;
        std::vector<Load> loads;
    };

    void SetUp() override {
        write(folder_ / "text.txt", pseudo_text(6'000));
        std::string source;
        for (const std::string& line : lines_of(pseudo_text(6'000))) source += "the " + line + "\n";
        write(folder_ / "source.txt", source);
        write(folder_ / "target.txt", pseudo_text(6'000));
        write(folder_ / "input.txt", lines_of(source)[3] + "\n");
        const auto done = [&](const std::string& line, int ranks = 1) {
            const Outcome outcome = run_skein(words(line), ranks);
            ASSERT_EQ(outcome.code, 0) << line << ": " << outcome.errors;
        };
        done("prepare --tokenizer chars --text " + (folder_ / "text.txt") + " --out " + (folder_ / "text"));
        done("prepare --source " + (folder_ / "source.txt") + " --target " + (folder_ / "target.txt") +
             " --vocab 290 --valid-fraction 0.2 --out " + (folder_ / "pairs"));
        done(train("text", "decoder", 4) + " --checkpoint.every 2 --eval.every 2", 2);
        done(train("pairs", "translator", 2));
    }

    std::string train(const std::string& data, const std::string& out, int steps) const {
        return "train --data " + (folder_ / data) + " --out " + (folder_ / out) +
               " --model.layers 1 --model.heads 2 --model.width 16 --train.batch 4 --parallel.threads 1"
               " --train.steps " +
               std::to_string(steps) +
               (data == "pairs"
                    ? " --model.kind encoder-decoder --model.context 48 --train.long-pairs truncate"
                    : " --model.context 16");
    }

    Result printed(const std::string& line, const std::string& before = "") const {
        const Outcome outcome = run_skein(words(line), 1, before);
        return {outcome, outcome.out};
    }
    /// A run in a folder of its own, `from` or a new one; it is removed.
    Result trained(const std::string& line, const std::string& from = "") const {
        if (!from.empty()) fs::copy(folder_ / from, folder_ / "try", fs::copy_options::recursive);
        const Outcome outcome = run_skein(words(line));
        std::string made;
        for (const std::string& entry : lines_of(contents(folder_ / "try/log.jsonl"))) {
            Json json = Json::parse(entry);
            json.erase("seconds");
            json.erase("tokens_per_second");
            made += json.dump() + "\n";
        }
        fs::remove_all(folder_ / "try");
        return {outcome, made};
    }

    std::vector<Target> targets() const {
        const std::string decoder = folder_ / "decoder/checkpoints/step-00000004",
                          translator = folder_ / "translator/checkpoints/step-00000002",
                          text = folder_ / "text", pairs = folder_ / "pairs";
        const auto evaluate = [this](const std::string& checkpoint, const std::string& data) {
            return printed("evaluate --json --train.long-pairs truncate --parallel.threads 1 --checkpoint " +
                           checkpoint + " --data " + data);
        };
        const auto generate = [this](const std::string& checkpoint) {
            return printed("generate --parallel.threads 1 --tokens 8 --prompt a --checkpoint " + checkpoint);
        };
        const std::string input = "exec <'" + (folder_ / "input.txt") + "';";
        return {
            {decoder,
             {{"train, resuming", [this] { return trained(train("text", "try", 6), "decoder"); }, true},
              {"train --resume",
               [=, this] { return trained(train("text", "try", 6) + " --resume " + decoder); }},
              {"train --init", [=, this] { return trained(train("text", "try", 1) + " --init " + decoder); }},
              {"evaluate", [=] { return evaluate(decoder, text); }},
              {"generate", [=] { return generate(decoder); }},
              {"evaluate, of a run", [=, this] { return evaluate(folder_ / "decoder", text); }, true},
              {"generate, of a run", [=, this] { return generate(folder_ / "decoder"); }, true}}},
            {translator,
             {{"translate",
               [=, this] {
                   return printed(
                       "translate --max-length-extra 4 --parallel.threads 1 --checkpoint " + translator,
                       input);
               }},
              {"evaluate", [=] { return evaluate(translator, pairs); }}}},
            {text,
             {{"train", [this] { return trained(train("text", "try", 1)); }},
              {"evaluate", [=] { return evaluate(decoder, text); }}}},
            {pairs,
             {{"train", [this] { return trained(train("pairs", "try", 1)); }},
              {"evaluate", [=] { return evaluate(translator, pairs); }}}},
        };
    }

    /// What the command makes of folders as they were written; with the target's checkpoint away if
    /// `without`.
    const std::string& reference(const Target& target, const Load& load, bool without) {
        const auto key = std::make_tuple(target.folder, load.name, without);
        if (const auto known = references_.find(key); known != references_.end()) return known->second;
        const std::string aside = folder_ / "aside";
        if (without) fs::rename(target.folder, aside);
        const Result result = load.run();
        if (without) fs::rename(aside, target.folder);
        EXPECT_EQ(result.outcome.code, 0) << load.name << ": " << result.outcome.errors;
        EXPECT_NE(result.made, "") << load.name;
        return references_[key] = result.made;
    }

    TemporaryFolder folder_;
    std::map<std::tuple<std::string, std::string, bool>, std::string> references_;
};

TEST_F(EveryByteLoaded, NoCommandTakesAChangedByteInSilence) {
    const int tries = number_from("SKEIN_TEST_TRIES", 40);
    Chance chance;
    SCOPED_TRACE(chance.how_to_repeat());

    // every file of every folder with every command that loads the folder, in an order of its own
    struct Case {
        const Target* target;
        const Load* load;
        fs::path file;
    };
    const std::vector<Target> all = targets();
    std::vector<Case> cases;
    for (const Target& target : all)
        for (const auto& entry : fs::directory_iterator(target.folder))
            for (const Load& load : target.loads) cases.push_back({&target, &load, entry.path()});
    std::ranges::sort(cases, {}, [](const Case& one) { return one.file.string() + one.load->name; });
    std::ranges::shuffle(cases, chance.generator());

    int refused = 0, passed_over = 0, not_needed = 0;
    for (int i = 0; i < tries; ++i) {
        const auto& [target, load, file] = cases[static_cast<std::size_t>(i) % cases.size()];
        const std::size_t offset = chance.below(fs::file_size(file));
        const unsigned char mask = chance.mask();
        flip_byte(file, offset, mask);
        const auto [outcome, made] = load->run();
        flip_byte(file, offset, mask);

        const bool named = outcome.errors.find(file.filename()) != std::string::npos;
        const bool warned = outcome.errors.find(" is passed over: ") != std::string::npos;
        bool fine = false;
        if (outcome.code == 65 && named && outcome.out.empty()) {
            fine = true;
            ++refused;
        } else if (outcome.code == 0 && named && warned && load->passes_over) {
            fine = made == reference(*target, *load, true);
            ++passed_over;
        } else if (outcome.code == 0) {
            fine = made == reference(*target, *load, false);
            ++not_needed;
        }
        EXPECT_TRUE(fine) << load->name << " with " << file << " changed at " << offset << ", xor "
                          << int{mask} << ": " << outcome.code << " " << outcome.errors << made;
    }
    std::printf(
        "%d changed bytes in %zu pairs of file and command: refused %d, passed over for an older "
        "checkpoint %d, not needed %d\n",
        tries, cases.size(), refused, passed_over, not_needed);
}

}  // namespace
}  // namespace skein
