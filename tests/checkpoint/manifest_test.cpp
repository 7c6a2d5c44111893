#include "checkpoint/manifest.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/base/error.h"
#include "model/base/file_hashes.h"

namespace skein {
namespace {

Manifest example() {
    Manifest out;
    out.run.step = 1000;
    out.run.updates = 998;
    out.run.place = {2, 17, ~std::uint64_t{0}};
    out.run.loss_scale = {65536.0, 12, 2};
    out.run.configuration = {{"model.width", "512"}, {"train.note", "quotes \" and \n lines, ö"}, {"a", ""}};
    out.run.best = BestMetric{0.1 + 0.2, 900};
    out.run.patience = 1;
    out.run.averages = {{"loss", 1.0 / 3.0}, {"gradient_norm", HUGE_VAL}};
    out.run.skips = {{"gradient", 2}};
    out.run.restarts = 3;
    out.run.seconds = 12.5;
    out.run.leans_on = {{"cpu", "EPYC"}, {"blas", "Zen"}};
    out.run.grid = {4, 2};
    out.sequence = 9;
    out.tokenizer = {"tokenizer.model"};
    out.files = {{"rank-00000.h5", kHashBlockBytes + 1, {"0123456789abcdef", "fedcba9876543210"}},
                 {"tokenizer.model", 3, {"00000000000000aa"}}};
    out.tensors = {{"parameters/w",
                    DType::bf16,
                    {4, 2},
                    {{"rank-00000.h5", "/parameters/w", {0, 0}, {3, 2}, "0000000000000001"},
                     {"rank-00000.h5", "/parameters/w2", {3, 0}, {1, 2}, "0000000000000002"}}},
                   {"scalar", DType::f64, {}, {{"rank-00000.h5", "/scalar", {}, {}, "0000000000000003"}}},
                   {"empty", DType::i32, {0, 3}, {}}};
    return out;
}

/// The example's text with one text in it replaced, and sealed again.
std::string changed(const std::string& from, const std::string& to) {
    std::string text = manifest_text(example());
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    return sealed(text.substr(0, text.rfind(",\n\"hash\"")) + "\n}\n");
}

void expect_refused(const std::string& text, const std::string& said) {
    try {
        parse_manifest(text, "DIR/manifest.json");
        FAIL() << "was accepted, wanted: " << said;
    } catch (const CheckpointError& error) {
        EXPECT_EQ(std::string(error.what()).rfind("DIR/manifest.json: ", 0), 0u) << error.what();
        EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
}

TEST(Manifest, ReadsBackExactly) {
    const std::string text = manifest_text(example());
    EXPECT_EQ(parse_manifest(text, "m"), example());
    EXPECT_EQ(manifest_text(parse_manifest(text, "m")), text);
    Manifest bare = example();
    bare.run.best.reset();
    EXPECT_EQ(parse_manifest(manifest_text(bare), "m"), bare);
}

TEST(Manifest, NoticesEveryChangedByteAndEveryCut) {
    const std::string good = manifest_text(example());
    for (std::size_t at = 0; at < good.size(); ++at) {
        std::string bad = good;
        bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
        EXPECT_THROW(parse_manifest(bad, "m"), CheckpointError) << at;
        EXPECT_THROW(parse_manifest(good.substr(0, at), "m"), CheckpointError) << at;
    }
    EXPECT_THROW(parse_manifest(good + "\n", "m"), CheckpointError);
}

TEST(Manifest, NamesTheFieldThatItCannotRead) {
    EXPECT_EQ(parse_manifest(changed("\"patience\": 1", "\"patience\":  1"), "m"), example())
        << "sealed again, it is read";
    expect_refused(changed("\"version\": 1", "\"version\": 2"), "version: found 2, wanted version 1");
    expect_refused(changed("skein-checkpoint", "skein-tokens"), "format: found \"skein-tokens\"");
    expect_refused(changed("\"step\": 1000,\n", ""), "step is missing");
    expect_refused(changed("\"updates\": 998", "\"updates\": -998"), "updates: found -998, wanted a count");
    expect_refused(changed("\"epoch\":2", "\"epoch\":2.5"), "place.epoch: found 2.5, wanted a count");
    expect_refused(changed("\"model.width\":\"512\"", "\"model.width\":512"),
                   "configuration.model.width: found 512");
    expect_refused(changed("\"patience\": 1", "\"patience\": true"), "patience: found true");
    expect_refused(changed("\"tokenizer\": [\"tokenizer.model\"]", "\"tokenizer\": [\"other\"]"),
                   "tokenizer[0]: found");
    expect_refused(changed("\"rank-00000.h5\",\"size\"", "\"../x\",\"size\""),
                   "files[0].name: found \"../x\"");
    expect_refused(changed("\"size\":3", "\"size\":0"), "files[1].blocks");
    expect_refused(changed("00000000000000aa", "00000000000000AA"), "files[1].blocks[0]");
    expect_refused(changed("\"bf16\"", "\"f8\""), "tensors[0].dtype: found \"f8\"");
    expect_refused(changed("\"offset\":[3,0]", "\"offset\":[2,0]"), "tensors[0].pieces[1].offset");
    expect_refused(changed("\"offset\":[3,0]", "\"offset\":[4,0]"), "tensors[0].pieces[1].shape");
    expect_refused(changed("\"shape\":[4,2]", "\"shape\":[5,2]"), "tensors[0].pieces: found");
    expect_refused(changed("\"shape\":[4,2]", "\"shape\":[4,281474976710656,281474976710656]"),
                   "tensors[0].shape[2]");
    expect_refused(changed("\"name\":\"scalar\"", "\"name\":\"empty\""), "tensors[2].name");
    expect_refused(changed("\"shape\":[],\"hash\"", "\"shape\":[1],\"hash\""), "tensors[1].pieces[0].shape");
    expect_refused("", "not JSON");
    expect_refused("[]", "found [], wanted an object");
}

TEST(Manifest, RefusesWhatJsonCannotHold) {
    Manifest twice = example();
    twice.run.configuration = {{"a", "1"}, {"a", "2"}};
    EXPECT_THROW(manifest_text(twice), CheckpointError);
    Manifest not_text = example();
    not_text.run.configuration = {{"a", "\xff"}};
    EXPECT_THROW(manifest_text(not_text), CheckpointError);
}

}  // namespace
}  // namespace skein
