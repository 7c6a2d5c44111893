#include "data/utf8.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

TEST(Utf8, EveryCodePointRoundTripsAndIsValid) {
    for (std::uint32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
        if (code_point >= 0xD800 && code_point <= 0xDFFF) continue;  // surrogates are not characters
        std::string text;
        append_utf8(text, code_point);
        ASSERT_FALSE(first_invalid_utf8(text)) << code_point;
        std::string_view rest = text;
        ASSERT_EQ(take_code_point(rest), code_point);
        ASSERT_TRUE(rest.empty());
        ASSERT_EQ(count_characters(text), 1u);
        ASSERT_EQ(whole_characters(text), text.size());
        for (std::size_t cut = 1; cut < text.size(); ++cut) {
            ASSERT_EQ(first_invalid_utf8(std::string_view(text).substr(0, cut)), 0u);
            ASSERT_EQ(whole_characters("ab" + text.substr(0, cut)), 2u);
        }
    }
}

TEST(Utf8, NamesTheFirstWrongByte) {
    EXPECT_EQ(first_invalid_utf8("ab\xff"), 2u);
    EXPECT_EQ(first_invalid_utf8("\x80"), 0u);
    EXPECT_EQ(first_invalid_utf8("a\xc0\x80"), 1u);         // overlong NUL
    EXPECT_EQ(first_invalid_utf8("\xe0\x9f\xbf"), 0u);      // overlong
    EXPECT_EQ(first_invalid_utf8("ü\xed\xa0\x80"), 2u);     // a surrogate
    EXPECT_EQ(first_invalid_utf8("\xf4\x90\x80\x80"), 0u);  // above U+10FFFF
    EXPECT_EQ(first_invalid_utf8("\xf0\x8f\xbf\xbf"), 0u);  // overlong
    EXPECT_EQ(first_invalid_utf8("\xf8\x88\x80\x80"), 0u);
    EXPECT_EQ(first_invalid_utf8("é\xc3"), 2u);
    EXPECT_FALSE(first_invalid_utf8(""));
}

TEST(Utf8, FindsTheByteOfACharacter) {
    EXPECT_EQ(byte_of_character("aüb①", 0), 0u);
    EXPECT_EQ(byte_of_character("aüb①", 1), 1u);
    EXPECT_EQ(byte_of_character("aüb①", 2), 3u);
    EXPECT_EQ(byte_of_character("aüb①", 3), 4u);
    EXPECT_EQ(byte_of_character("aüb①", 4), 7u);
    EXPECT_EQ(byte_of_character("aüb①", 9), 7u);
}

}  // namespace
}  // namespace skein
