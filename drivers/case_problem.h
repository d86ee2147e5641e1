#pragma once

#include <iosfwd>

#include "drivers/options.h"
#include "io/case_file.h"
#include "ring/problem.h"

namespace hilbertring {

/// What a case asks for, with the options of the command line over its own specification: forward and backward if it has /do, unless
/// --no-gradient. Notes (options that change nothing, branches left out) go to `notes`. Throws Error(kUsage).
Problem problem_of_case(const CaseFile& file, const Arguments& arguments, std::ostream& notes);

/// Throws Error(kInput), naming the tensor, if q, k or v is missing.
void require_inputs(const CaseFile& file);

}  // namespace hilbertring
