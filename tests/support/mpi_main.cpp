// The main of tests that run on several ranks. Rank 0 reports as usual, the others print failures only, and a
// failure on any rank fails the test.

#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>

namespace {

int world_rank = 0;

class FailurePrinter : public testing::EmptyTestEventListener {
    void OnTestStart(const testing::TestInfo& test) override { test_ = &test; }
    void OnTestPartResult(const testing::TestPartResult& result) override {
        if (!result.failed()) return;
        std::fprintf(stderr, "rank %d, %s.%s: %s:%d: %s\n", world_rank, test_ ? test_->test_suite_name() : "",
                     test_ ? test_->name() : "", result.file_name() ? result.file_name() : "",
                     result.line_number(), result.message());
    }

    const testing::TestInfo* test_ = nullptr;
};

// A rank that left a test half-way would leave the others waiting for it.
class FatalFailureEndsAll : public testing::EmptyTestEventListener {
    void OnTestEnd(const testing::TestInfo& test) override {
        if (!test.result()->HasFatalFailure()) return;
        std::fflush(nullptr);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
};

}  // namespace

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    if (world_rank != 0) {
        delete listeners.Release(listeners.default_result_printer());
        listeners.Append(new FailurePrinter);
    }
    listeners.Append(new FatalFailureEndsAll);
    int mine = RUN_ALL_TESTS() == 0 ? 0 : 1;
    int any = mine;
    MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    MPI_Finalize();
    return any;
}
