#include "ring/rates.h"

#include <cmath>
#include <cstdio>
#include <string>

#include "core/error.h"

namespace hilbertring {

namespace {

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

void require_above_zero(const std::string& name, double value) {
  if (!(std::isfinite(value) && value > 0)) throw input_error(name + " is " + number_text(value) + ", but must be above 0");
}

void require_not_below_zero(const std::string& name, double value) {
  if (!(std::isfinite(value) && value >= 0)) throw input_error(name + " is " + number_text(value) + ", but must be at least 0");
}

void validate_folds(const std::string& name, const FoldRates& rates) {
  require_above_zero(name + ".pairs_per_second.whole", rates.whole);
  require_above_zero(name + ".pairs_per_second.cut", rates.cut);
  require_above_zero(name + ".pairs_per_second.dilated", rates.dilated);
  require_not_below_zero(name + ".seconds_per_fold", rates.seconds_per_fold);
  require_not_below_zero(name + ".seconds_per_row", rates.seconds_per_row);
}

void validate_link(const std::string& name, const std::optional<LinkRates>& link) {
  if (!link) return;
  require_above_zero(name + ".bytes_per_second", link->bytes_per_second);
  require_not_below_zero(name + ".seconds_per_message", link->seconds_per_message);
}

}  // namespace

double FoldRates::seconds(const AllowedPairs& pairs) const {
  return static_cast<double>(pairs.whole) / whole + static_cast<double>(pairs.cut) / cut + static_cast<double>(pairs.dilated) / dilated;
}

void Rates::validate() const {
  require_above_zero("head_dim", static_cast<double>(head_dim));
  require_above_zero("threads_per_rank", num_threads);
  require_above_zero("ranks_per_node", static_cast<double>(ranks_per_node));
  validate_folds("forward", forward);
  validate_folds("backward", backward);
  validate_link("links.within_node", within_node);
  validate_link("links.between_nodes", between_nodes);
  require_not_below_zero("overlap", overlap);
  if (overlap > 1) throw input_error("overlap is " + number_text(overlap) + ", but must be at most 1");
}

const LinkRates& Rates::link(bool crosses_nodes) const {
  const auto& wanted = crosses_nodes ? between_nodes : within_node;
  return wanted ? *wanted : (crosses_nodes ? *within_node : *between_nodes);
}

}  // namespace hilbertring
