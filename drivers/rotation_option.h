#pragma once

#include <optional>

#include "drivers/options.h"
#include "ring/rotation.h"

namespace hilbertring {

/// --rotation: what goes round the ring in the backward pass.
OptionEntry rotation_option();

/// nullopt: whichever sends fewer bytes. Throws usage_error for another word.
std::optional<Rotation> rotation_from(const Arguments& arguments);

}  // namespace hilbertring
