#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>
#include <string>

namespace {

/// What a rank other than 0 prints.
class FailurePrinter final : public ::testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}
  void OnTestStart(const ::testing::TestInfo& test) override { test_ = std::string(test.test_suite_name()) + "." + test.name(); }
  void OnTestPartResult(const ::testing::TestPartResult& part) override {
    if (!part.failed()) return;
    const char* const file = part.file_name() == nullptr ? "" : part.file_name();
    std::fprintf(stderr, "rank %d, %s: %s:%d: %s\n", rank_, test_.c_str(), file, part.line_number(), part.message());
  }

 private:
  int rank_;
  std::string test_;
};

}  // namespace

// Exit code = max over ranks; ranks other than 0 print only their failures.
int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  ::testing::InitGoogleTest(&argc, argv);
  if (rank != 0) {
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter(rank));  // which the list owns
  }
  int status = RUN_ALL_TESTS();
  if (status != 0) std::fprintf(stderr, "rank %d: tests failed\n", rank);
  MPI_Allreduce(MPI_IN_PLACE, &status, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return status;
}
