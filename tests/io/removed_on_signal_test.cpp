#include "io/removed_on_signal.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <functional>

#include "core/error.h"
#include "io/files.h"

namespace hilbertring::test {
namespace {

const std::filesystem::path& test_path() {
  static const std::filesystem::path path = std::filesystem::temp_directory_path() / ("removed_on_signal_" + std::to_string(getpid()));
  return path;
}

/// What becomes of a process that does this: as waitpid(2) has it.
int status_of_child(const std::function<void()>& act) {
  const pid_t child = fork();
  if (child == 0) {
    act();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

class RemovedOnSignalTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { write_text_file(test_path(), "half"); }
  void TearDown() override { std::filesystem::remove(test_path()); }
};

TEST_P(RemovedOnSignalTest, TheFileGoesAndTheProcessEndsByTheSignal) {
  const int status = status_of_child([&] {
    const RemovedOnSignal removed(test_path());
    std::raise(GetParam());
  });

  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), GetParam());
  EXPECT_FALSE(std::filesystem::exists(test_path()));
}

TEST_P(RemovedOnSignalTest, TheFileStaysOnceItsOwnerIsGone) {
  const int status = status_of_child([&] {
    { const RemovedOnSignal removed(test_path()); }
    std::raise(GetParam());
  });

  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(std::filesystem::exists(test_path()));
}

TEST_P(RemovedOnSignalTest, OneOfTwoOwnersThatIsLeftStillRemoves) {
  status_of_child([&] {
    const RemovedOnSignal removed(test_path());
    { const RemovedOnSignal other("no such file"); }
    std::raise(GetParam());
  });

  EXPECT_FALSE(std::filesystem::exists(test_path()));
}

TEST_P(RemovedOnSignalTest, ASignalThatIsHandledAlreadyIsLeftAlone) {
  const int status = status_of_child([&] {
    std::signal(GetParam(), [](int) {});
    const RemovedOnSignal removed(test_path());
    std::raise(GetParam());
  });

  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_TRUE(std::filesystem::exists(test_path()));
}

TEST(RemovedOnSignal, FilesGoBeforeAnEndThatUnwindsNothing) {
  write_text_file(test_path(), "half");
  const RemovedOnSignal removed(test_path());

  RemovedOnSignal::remove_all();

  EXPECT_FALSE(std::filesystem::exists(test_path()));
}

INSTANTIATE_TEST_SUITE_P(Signals, RemovedOnSignalTest, ::testing::Values(SIGHUP, SIGINT, SIGTERM));

}  // namespace
}  // namespace hilbertring::test
