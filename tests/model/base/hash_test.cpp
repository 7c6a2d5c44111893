#include "model/base/hash.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

TEST(Hash, IsXxh3OfTheBytes) {
    EXPECT_EQ(hash_hex(std::string_view("")),
              "2d06800538d394c2");  // XXH3_64bits of nothing, from xxHash's own tests
}

TEST(Hash, OfPiecesIsTheHashOfTheWhole) {
    const std::string whole(100'000, 'x');
    StreamingHash streaming;
    for (std::size_t at = 0; at < whole.size(); at += 777)
        streaming.update(std::string_view(whole).substr(at, 777));
    EXPECT_EQ(streaming.hex(), hash_hex(whole));
    EXPECT_NE(hash_hex(whole + "x"), hash_hex(whole));
}

}  // namespace
}  // namespace skein
