#pragma once

#include <ostream>
#include <string>

#include "core/specification.h"
#include "drivers/options.h"

namespace hilbertring {

/// --preset and one option per key of the specification, with dashes for underscores.
const OptionGroup& pattern_options();

/// `base` with what the options say. A preset comes first and replaces branches, order and causality; scale, grid, chunk and placement, of which
/// presets know nothing, stay as they are; single keys come after it. A preset's meaning is printed. Does not validate.
Specification with_pattern_options(Specification base, const Arguments& arguments, const Shape& shape, std::ostream& out);

/// The same for a command that starts from nothing and reads no case. Throws usage_error unless a preset or segment lengths and dilation rates are
/// given, and for an order that only a case has.
Specification pattern_from(const Arguments& arguments, const Shape& shape, const std::string& command, std::ostream& out);
/// The first of these two refusals.
void require_pattern(const Arguments& arguments, const std::string& command);

/// --batch, --tokens, --heads, --kv-heads, --head-dim: the shape of a problem that no file tells.
const OptionGroup& shape_options();
/// Throws usage_error when a size is missing or can't be.
Shape shape_from(const Arguments& arguments);

}  // namespace hilbertring
