#pragma once

#include <cstdint>
#include <optional>

#include "core/allowed_pairs.h"
#include "core/element_type.h"
#include "ring/backend.h"
#include "ring/schedule.h"

namespace hilbertring {

/// How fast one rank folds in one pass, while the others of its node do as much.
struct FoldRates {
  double whole = 0, cut = 0, dilated = 0;  ///< allowed pairs per second, by kind (AllowedPairs), all heads together
  double seconds_per_fold = 0;             ///< what a fold costs besides: launches, the host
  double seconds_per_row = 0;              ///< what a pass costs for each of the rank's query rows and heads, however few its keys: state, results

  double seconds(const AllowedPairs& pairs) const;
};

/// Messages of one rank, while all others send as much; what it sends and what it receives pass each other.
struct LinkRates {
  double bytes_per_second = 0;
  double seconds_per_message = 0;
};

/// What the time model knows of a machine. Pairs and their operands depend on type and head dimension: rates hold for one of each.
struct Rates {
  Backend backend = Backend::kCpu;
  ElementType type = ElementType::kFloat32;
  std::int64_t head_dim = 0;
  int num_threads = 1;  ///< per rank
  FoldRates forward = {}, backward = {};
  double overlap = 1;  ///< share of the shorter of computing and transfers that takes no time of its own: 1 if both go on undisturbed
  std::int64_t ranks_per_node = 1;
  std::optional<LinkRates> within_node = {}, between_nodes = {};  ///< where one is unknown the other stands for it

  /// Throws Error(kInput) with the field, the value and the rule.
  void validate() const;
  const FoldRates& of(Pass pass) const { return pass == Pass::kForward ? forward : backward; }
  FoldRates& of(Pass pass) { return pass == Pass::kForward ? forward : backward; }
  bool has_link() const { return within_node || between_nodes; }
  /// Of messages between ranks of one node or of two. Needs has_link().
  const LinkRates& link(bool crosses_nodes) const;
};

}  // namespace hilbertring
