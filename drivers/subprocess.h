#pragma once

#include <string>
#include <vector>

namespace hilbertring {

/// Runs a program (looked for on PATH) with its arguments, without a shell. What it says, on both streams, goes to the file `output`; it reads
/// nothing. Returns its exit status; 127 if there is no such program, 128 + the signal that ended it. Throws failure if it can't be run at all.
int run_subprocess(const std::vector<std::string>& words, const std::string& output);

}  // namespace hilbertring
