#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "drivers/suite_manifest.h"
#include "drivers/verify_rows.h"

namespace hilbertring {

/// How one case of a set went.
struct CaseVerdict {
  std::string name;
  std::string type;
  std::vector<TensorErrors> errors = {};  ///< o, lse, and with gradients dq, dk, dv
  double seconds = 0;                     ///< of the run, files included

  bool passes() const;
};

/// Compares a result with the expected values in its case, every element with the bounds of `RowVerifier`.
CaseVerdict judge_result(const SuiteEntry& entry, const std::string& case_path, const std::string& result_path);

/// One line for each case, then what is wrong with those that miss. Returns whether all pass.
bool print_verdicts(std::ostream& out, const std::vector<CaseVerdict>& verdicts);

}  // namespace hilbertring
