#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "drivers/report_records.h"
#include "ring/schedule.h"

namespace hilbertring {

/// A point that a sweep is to measure: a line of its points.csv.
struct PlannedPoint {
  std::string label, series, kind;  ///< kind: weak, strong, sequence
  std::int64_t num_tokens = 0, num_ranks = 0;
};

/// Reads the list that `cluster/scale` leaves: columns label, series, kind, tokens, ranks, in any order; others are ignored. Throws input_error
/// naming file, line, value and rule.
std::vector<PlannedPoint> read_points(const std::string& path);

/// A point of a series, with its record if it was measured.
struct ReportPoint {
  enum class State { kMeasured, kFailed, kMissing };

  PlannedPoint planned;
  State state = State::kMissing;
  std::string reason;  ///< of a failed point
  std::optional<BenchRecord> record;

  /// Of a measured point; null for a pass that was not measured.
  const RecordedPass* pass(Pass which) const;
};

std::string to_string(ReportPoint::State state);

/// What a plot draws as one line. Points ascend by ranks, then tokens.
struct Series {
  std::string name;
  std::string kind;  ///< weak, strong, sequence; "single": problems that no other has a place beside; "": failed, of no known series
  std::vector<ReportPoint> points;
};

/// How a point compares with its series' base: the measured point of fewest ranks (kind sequence: of fewest tokens on as many ranks).
struct Scaling {
  double ideal_seconds = 0;  ///< the base's time for as much work on as many ranks, if nothing were lost
  double efficiency = 0;     ///< ideal / measured: allowed pairs per second and rank, as a share of the base's
};
std::optional<Scaling> scaling_of(const Series& series, const ReportPoint& point, Pass pass);

/// The series that a list of points asks for: points without a record are missing. Throws input_error if a record is of none of them, or of other
/// tokens or ranks than its point.
std::vector<Series> planned_series(const std::vector<PlannedPoint>& points, const Records& records);
/// The series that records make among themselves: alike in all but ranks (strong), but ranks at as many tokens a rank (weak), but tokens (sequence).
/// Throws input_error if two records are of one problem on as many ranks.
std::vector<Series> found_series(const Records& records);

}  // namespace hilbertring
