#pragma once

#include <optional>
#include <span>
#include <string>

#include "drivers/rates_file.h"
#include "drivers/text_table.h"
#include "ring/time_model.h"

namespace hilbertring {

/// What the time model says of a problem; no time where its pairs can't be counted, or a pass does not take place.
struct TimePredictions {
  std::optional<PassPrediction> forward, backward;

  const std::optional<PassPrediction>& of(Pass pass) const { return pass == Pass::kForward ? forward : backward; }
  std::span<const double> stage_seconds(Pass pass) const;
};

TimePredictions predict_times(const Schedule& schedule, const Rates& rates);
/// Adds what the rates were measured on, and for each pass "1.53 s on rank 0, the slowest; transfers 0.21 s, 98 % hidden; 0.612 TFLOP/s per rank".
void add_time_rows(TextTable& table, const Schedule& schedule, const RatesFile& file, const TimePredictions& times);

}  // namespace hilbertring
