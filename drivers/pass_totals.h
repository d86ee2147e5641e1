#pragma once

#include <string_view>

#include "drivers/run_totals.h"
#include "ring/attention.h"
#include "ring/transport.h"

namespace hilbertring {

std::string_view name_of(Pass pass);  ///< "forward", "backward"

/// Of all ranks. Collective.
PassTotals over_all_ranks(Transport& transport, const PassReport& report);
/// The schedule is the law: bytes that differ from it mean that rows went astray, whatever the result looks like. Collective; throws failure.
void require_predicted_bytes(Transport& transport, Pass pass, const PassReport& report);

}  // namespace hilbertring
