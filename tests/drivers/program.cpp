#include "tests/drivers/program.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace hilbertring::test {

namespace {

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace

int Outcome::num_error_lines() const {
  std::istringstream lines(err);
  int count = 0;
  for (std::string line; std::getline(lines, line);) count += line.starts_with("hilbertring: ") ? 1 : 0;
  return count;
}

Outcome run_shell(const TemporaryDirectory& directory, const std::string& line) {
  const std::string script = directory.file(".line");
  std::ofstream(script) << "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1\ncd '" << directory.path() << "'\n" << line << "\n";
  const std::string command = "bash '" + script + "' > '" + directory.file(".out") + "' 2> '" + directory.file(".err") + "' < /dev/null";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text_of(directory.file(".out")), text_of(directory.file(".err"))};
}

Outcome run_program(const TemporaryDirectory& directory, const std::string& words) {
  return run_shell(directory, std::string(kProgram) + " " + words);
}

std::string launch_line(int num_ranks) {
  return std::string("OMP_NUM_THREADS=1 ") + kLauncher + " -np " + std::to_string(num_ranks) + " --oversubscribe --bind-to none " + kProgram + " ";
}

Outcome run_program_on(int num_ranks, const TemporaryDirectory& directory, const std::string& words) {
  return run_shell(directory, launch_line(num_ranks) + words);
}

void generate_small_case(const TemporaryDirectory& directory, const std::string& name, const std::string& words) {
  const Outcome outcome = run_program(directory, "generate " + name +
                                                     " --tokens 600 --heads 4 --kv-heads 2 --head-dim 16 --gradient --segment-lengths 100,400"
                                                     " --dilation-rates 1,4 --offset head-mod --chunk 50 " +
                                                     words);
  ASSERT_EQ(outcome.status, 0) << outcome.err;
}

void expect_refusal(const Outcome& outcome, int status, const std::string& part) {
  EXPECT_EQ(outcome.status, status) << outcome.err;
  EXPECT_EQ(outcome.num_error_lines(), 1) << outcome.err;
  EXPECT_NE(outcome.err.find(part), std::string::npos) << "no \"" << part << "\" in: " << outcome.err;
}

}  // namespace hilbertring::test
