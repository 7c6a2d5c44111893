#include "launch/failure.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <new>

#include "model/base/error.h"

namespace skein {
namespace {

template <class Exception>
int code_of(const Exception& exception) {
    return failure_of(std::make_exception_ptr(exception)).code;
}

TEST(Failure, EveryExceptionHasItsExitCode) {
    EXPECT_EQ(code_of(ConfigError("x")), 64);
    EXPECT_EQ(code_of(DataError("x")), 65);
    EXPECT_EQ(code_of(CheckpointError("x")), 65);
    EXPECT_EQ(code_of(MissingError("x")), 66);
    EXPECT_EQ(code_of(ShapeError("x")), 70);
    EXPECT_EQ(code_of(Error("x")), 70);
    EXPECT_EQ(code_of(std::bad_alloc()), 70);
    EXPECT_EQ(code_of(std::logic_error("x")), 70);
    EXPECT_EQ(code_of(7), 70);
    EXPECT_EQ(code_of(MpiError("x")), 71);
    EXPECT_EQ(code_of(CudaError("x")), 71);
    EXPECT_EQ(code_of(ReplicaError("x")), 71);
    EXPECT_EQ(code_of(IoError("x")), 74);
    EXPECT_EQ(code_of(std::filesystem::filesystem_error("x", std::error_code())), 74);
}

TEST(Failure, TheMessageIsOneLine) {
    EXPECT_EQ(failure_of(std::make_exception_ptr(Error("a\nb"))).message, "a b");
}

}  // namespace
}  // namespace skein
