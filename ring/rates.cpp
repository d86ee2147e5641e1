#include "ring/rates.h"

#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>

#include "core/error.h"

namespace hilbertring {

namespace {

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

/// No machine is as slow or as fast as the bounds; what lies outside was mistyped, and would make times of no use or no number.
constexpr double kLeastRate = 1, kMostRate = 1e18, kMostSeconds = 1e6;

void require_between(const std::string& name, double value, double low, double high) {
  if (value >= low && value <= high) return;
  throw input_error(name + " is " + number_text(value) + ", but must be " + number_text(low) + " to " + number_text(high));
}

void require_rate(const std::string& name, double value) { require_between(name, value, kLeastRate, kMostRate); }
void require_seconds(const std::string& name, double value) { require_between(name, value, 0, kMostSeconds); }

void validate_folds(const std::string& name, const FoldRates& rates) {
  require_rate(name + ".pairs_per_second.whole", rates.whole);
  require_rate(name + ".pairs_per_second.cut", rates.cut);
  require_rate(name + ".pairs_per_second.dilated", rates.dilated);
  require_seconds(name + ".seconds_per_fold", rates.seconds_per_fold);
  require_seconds(name + ".seconds_per_row", rates.seconds_per_row);
}

void validate_link(const std::string& name, const std::optional<LinkRates>& link) {
  if (!link) return;
  require_rate(name + ".bytes_per_second", link->bytes_per_second);
  require_seconds(name + ".seconds_per_message", link->seconds_per_message);
}

}  // namespace

double FoldRates::seconds(const AllowedPairs& pairs) const {
  return static_cast<double>(pairs.whole) / whole + static_cast<double>(pairs.cut) / cut + static_cast<double>(pairs.dilated) / dilated;
}

void Rates::validate() const {
  constexpr double kMostOfAll = std::numeric_limits<std::int32_t>::max();
  require_between("head_dim", static_cast<double>(head_dim), 1, kMostOfAll);
  require_between("threads_per_rank", num_threads, 1, kMostOfAll);
  require_between("ranks_per_node", static_cast<double>(ranks_per_node), 1, kMostOfAll);
  validate_folds("forward", forward);
  validate_folds("backward", backward);
  validate_link("links.within_node", within_node);
  validate_link("links.between_nodes", between_nodes);
  require_between("overlap", overlap, 0, 1);
}

const LinkRates& Rates::link(bool crosses_nodes) const {
  const auto& wanted = crosses_nodes ? between_nodes : within_node;
  return wanted ? *wanted : (crosses_nodes ? *within_node : *between_nodes);
}

}  // namespace hilbertring
