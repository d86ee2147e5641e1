#pragma once

#include <optional>

#include "core/element_type.h"
#include "core/shape.h"
#include "core/specification.h"
#include "ring/rotation.h"

namespace hilbertring {

/// What is to be computed, wherever: everything that the schedule, the prediction and the ranks must agree on.
struct Problem {
  Shape shape;
  ElementType type = ElementType::kFloat32;  ///< of q, k, v and do in memory and on the wire
  Specification specification;
  bool with_gradient = false;
  std::optional<Rotation> backward_rotation = {};  ///< nullopt: whichever sends fewer bytes

  friend bool operator==(const Problem&, const Problem&) = default;
  /// Throws usage_error with field, value and rule; also when `num_ranks` exceeds the number of units.
  void validate(std::int64_t num_ranks) const;
};

}  // namespace hilbertring
