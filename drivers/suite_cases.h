#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/element_type.h"
#include "core/shape.h"
#include "core/specification.h"
#include "io/case_file.h"

namespace hilbertring {

/// The set that this program makes and checks. Any change of a case, or of the bits of its numbers, is another version.
inline constexpr const char* kSuiteName = "hilbertring-regression";
inline constexpr std::int64_t kSuiteVersion = 1;
/// Every case has at least so many units.
inline constexpr std::int64_t kMaxSuiteRanks = 8;

/// One case of the set: all that its file follows from.
struct SuiteCase {
  std::string name;    ///< the file is NAME.h5
  std::string covers;  ///< what it is there for, in a line
  ElementType type = ElementType::kFloat32;
  Shape shape;
  Specification specification;
  bool has_gradient = true;
  std::uint64_t seed = 0;

  std::string file_name() const { return name + ".h5"; }
  /// Inputs in `type`, expected results in float64, and the order.
  FileLayout layout() const;
};

/// "hilbertring-regression 1"
std::string suite_title();
/// All cases, small ones: each preset, each value of each option, curves, sizes, types and what else has gone wrong in kernels.
const std::vector<SuiteCase>& suite_cases();

}  // namespace hilbertring
