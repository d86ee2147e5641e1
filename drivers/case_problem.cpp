#include "drivers/case_problem.h"

#include <string>

#include "core/error.h"
#include "drivers/pattern_options.h"
#include "drivers/rotation_option.h"

namespace hilbertring {

Problem problem_of_case(const CaseFile& file, const Arguments& arguments, std::ostream& notes) {
  Problem problem{.shape = file.shape(),
                  .type = file.type(),
                  .specification = {},
                  .with_gradient = file.has(TensorName::kDo) && !arguments.has("no-gradient"),
                  .backward_rotation = rotation_from(arguments)};
  problem.specification = with_pattern_options(file.specification(), arguments, file.shape(), notes);
  return problem;
}

void require_inputs(const CaseFile& file) {
  for (const TensorName name : {TensorName::kQ, TensorName::kK, TensorName::kV}) {
    if (!file.has(name)) throw input_error(file.path() + ": '/" + std::string(to_string(name)) + "' is missing; a case has q, k and v");
  }
}

}  // namespace hilbertring
