#pragma once

#include "ring/transport.h"

namespace hilbertring {

/// Drawn problems give the same bits over the ranks of `transport`, each with the backend under test, as on one rank alone. Collective.
void expect_same_bits_as_alone(Transport& transport);

}  // namespace hilbertring
