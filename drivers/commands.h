#pragma once

#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "drivers/job.h"
#include "drivers/options.h"

namespace hilbertring {

/// Exit status of a command whose check or verification missed.
inline constexpr int kStatusMissed = 1;

/// One subcommand: what it takes, and what it does. `run` returns the exit status, 0 or kStatusMissed, and throws Error for all else.
/// Collective over the job.
struct Command {
  CommandSyntax syntax;
  int (*run)(Job& job, const Arguments& arguments);
};

Command generate_command();
Command run_command();
Command verify_command();
Command info_command();
Command plan_command();
Command calibrate_command();
Command bench_command();
Command suite_command();
Command report_command();

/// What `run` does with these arguments; what it says goes to `out`, which is the first rank's affair.
int run_case(Job& job, const Arguments& arguments, std::ostream& out);

/// The program without its catch: finds the command in `words` (argv without the program), parses and runs it.
int run_program(Job& job, std::span<const std::string> words);

}  // namespace hilbertring
