#pragma once

#include <string>
#include <vector>

#include "drivers/report_series.h"

namespace hilbertring {

/// One line for each point and pass, with all that its record says; a failed or missing point has one line without a pass. Columns: docs/FORMAT.md.
std::string report_csv(const std::vector<Series>& all);

/// A table for each series, points without a measurement with their reasons, what was measured with what, and `plots`: names of PNG files.
std::string report_markdown(const std::vector<Series>& all, const std::vector<std::string>& plots);

/// "12 points: 10 measured, one failed, one missing"
std::string count_text(const std::vector<Series>& all);

}  // namespace hilbertring
