#pragma once

#include <string>

#include "drivers/job.h"
#include "drivers/options.h"

namespace hilbertring {

/// Options that --check hands on to the runs: how the ranks talk, and what computes.
OptionGroup suite_run_options();

/// Checks the manifest of the set in `directory` and the sums of its files, runs every case as `hilbertring run` would with the same options (results
/// in the type that is computed in), and verifies them against the expected values. Prints a table; returns the exit status, 0 or 1. Results lie in
/// a directory of their own in --scratch, else beside the set, which is removed. Collective over the job. Throws input_error for a set that is not
/// intact.
int check_suite(Job& job, const Arguments& arguments, const std::string& directory);

}  // namespace hilbertring
