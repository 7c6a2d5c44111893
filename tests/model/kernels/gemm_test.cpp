#include <gtest/gtest.h>
TEST(Gemm, X) {}
