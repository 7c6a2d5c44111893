#include "trainer/model_state.h"

#include <gtest/gtest.h>

#include "model/base/error.h"

namespace skein {
namespace {

DataFolder folder_of(const std::string& tokenizer, const std::string& source_tokenizer) {
    DataFolder folder;
    folder.kind = DataKind::kPairs;
    folder.header.tokenizer_sha256 = tokenizer;
    folder.source_header.tokenizer_sha256 = source_tokenizer;
    return folder;
}

TEST(CheckTokenizers, OnlyThoseThatTheCheckpointNamesPass) {
    Manifest manifest;
    manifest.run.leans_on = {{kTokenizerName, "aa"}, {kSourceTokenizerName, "bb"}};
    EXPECT_NO_THROW(check_tokenizers(manifest, folder_of("aa", "bb")));
    EXPECT_THROW(check_tokenizers(manifest, folder_of("aa", "cc")), DataError);
    EXPECT_THROW(check_tokenizers(manifest, folder_of("cc", "bb")), DataError);
}

TEST(CheckTokenizers, ACheckpointThatNamesNoneIsOfTokensThatNameNone) {
    Manifest manifest;
    EXPECT_NO_THROW(check_tokenizers(manifest, folder_of("", "")));
    EXPECT_THROW(check_tokenizers(manifest, folder_of("aa", "")), DataError);
    manifest.run.leans_on = {{kTokenizerName, "aa"}};
    EXPECT_THROW(check_tokenizers(manifest, folder_of("aa", "bb")), DataError);
}

}  // namespace
}  // namespace skein
