#pragma once

#include <string>

#include "program_path.h"
#include "tests/io/raw_case.h"

namespace hilbertring::test {

/// How a command of the shell went.
struct Outcome {
  int status = -1;
  std::string out;
  std::string err;

  /// Lines of err that the program wrote (mpirun adds its own).
  int num_error_lines() const;
  bool says(const std::string& part) const { return out.find(part) != std::string::npos || err.find(part) != std::string::npos; }
};

/// Runs a line of bash; `directory` is where it runs and where its outputs are kept.
Outcome run_shell(const TemporaryDirectory& directory, const std::string& line);
/// `hilbertring words`, and under mpirun on so many ranks.
Outcome run_program(const TemporaryDirectory& directory, const std::string& words);
Outcome run_program_on(int num_ranks, const TemporaryDirectory& directory, const std::string& words);
std::string launch_line(int num_ranks);

/// A small case with gradients: B=1 N=600 H=4 G=2 D=16, two dilated branches, Hilbert order, chunks of 50; `words` come last.
void generate_small_case(const TemporaryDirectory& directory, const std::string& name, const std::string& words = "");

/// The program must refuse with the status and one line that has `part`.
void expect_refusal(const Outcome& outcome, int status, const std::string& part);

}  // namespace hilbertring::test
