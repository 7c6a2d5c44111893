#include "data/incremental_decoder.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

std::string decoded(const Tokenizer& tokenizer, std::string_view before, std::string_view text) {
    std::vector<std::int32_t> ids, first;
    tokenizer.encode(before, first);
    tokenizer.encode(text, ids);
    IncrementalDecoder decoder(tokenizer, first);
    std::string out;
    for (const std::int32_t id : ids) out += decoder.add(id);
    return out;
}

TEST(IncrementalDecoder, GivesTheTextPieceByPiece) {
    const auto bytes = make_bytes_tokenizer(true);
    std::string text;
    for (int i = 0; i < 100; ++i) text += "grün ① 𝄞 x";
    EXPECT_EQ(decoded(*bytes, "before: ", text), text);
    EXPECT_EQ(decoded(*bytes, text, text), text);
}

TEST(IncrementalDecoder, HoldsACharacterBackUntilItIsWhole) {
    const auto bytes = make_bytes_tokenizer(false);
    IncrementalDecoder decoder(*bytes, {});
    EXPECT_EQ(decoder.add('a'), "a");
    EXPECT_EQ(decoder.add(0xE2), "");
    EXPECT_EQ(decoder.add(0x82), "");
    EXPECT_EQ(decoder.add(0xAC), "€");
}

}  // namespace
}  // namespace skein
