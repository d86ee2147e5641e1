#include "hilbert/neighbour_share.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "hilbert/grid.h"
#include "hilbert/order.h"
#include "hilbert/order_lookup.h"

namespace hilbertring {

namespace {

constexpr std::int64_t kMaxSeenTokens = std::int64_t{1} << 18;

/// Heads with the same allowed pairs: one of them stands for `count`.
struct HeadClass {
  std::int64_t head = 0;
  std::int64_t count = 0;
};

std::vector<HeadClass> head_classes(const Pattern& pattern) {
  std::vector<HeadClass> classes(static_cast<std::size_t>(pattern.num_head_classes()));
  for (std::int64_t head = 0; head < pattern.shape().heads; ++head) {
    HeadClass& of_head = classes[static_cast<std::size_t>(pattern.head_class(head))];
    of_head.head = head;
    ++of_head.count;
  }
  return classes;
}

class NeighbourCounter {
 public:
  NeighbourCounter(const Pattern& pattern, const Orders& orders)
      : pattern_(pattern), classes_(head_classes(pattern)), queries_(*orders.queries), keys_(*orders.keys) {}

  void add_both_ways(std::int64_t t, std::int64_t neighbour) {
    num_seen_ += num_heads_seeing(t, neighbour) + num_heads_seeing(neighbour, t);
    num_all_ += 2 * pattern_.shape().heads;
  }

  std::optional<double> share() const {
    if (num_all_ == 0) return std::nullopt;
    return static_cast<double>(num_seen_) / static_cast<double>(num_all_);
  }

 private:
  std::int64_t num_heads_seeing(std::int64_t query, std::int64_t key) const {
    const Position query_position(queries_.position(query)), key_position(keys_.position(key));
    const bool is_by_sequence = pattern_.causal() == Causal::kSequence;
    const bool is_in_time =
        is_by_sequence ? Pattern::causality_allows(query, key) : Pattern::causality_allows(query_position.value, key_position.value);
    if (pattern_.is_causal() && !is_in_time) return 0;
    std::int64_t num_heads = 0;
    for (const HeadClass& heads : classes_) num_heads += sees(heads.head, query_position, key_position) ? heads.count : 0;
    return num_heads;
  }

  bool sees(std::int64_t head, Position query, Position key) const {
    for (std::int64_t index = 0; index < pattern_.num_branches(); ++index) {
      const Branch& branch = pattern_.branch(index);
      if (branch.has_head(head) && branch.allows(head, query, key)) return true;
    }
    return false;
  }

  const Pattern& pattern_;
  std::vector<HeadClass> classes_;
  OrderLookup queries_, keys_;
  std::int64_t num_seen_ = 0, num_all_ = 0;
};

}  // namespace

std::optional<NeighbourShare> neighbour_share(const Specification& specification, const Pattern& pattern, const Orders& orders) {
  const std::int64_t num_tokens = pattern.shape().tokens;
  const std::int64_t run_length = curve_run_length(specification, num_tokens);
  const Grid grid(grid_of_run(specification, run_length), run_length);

  NeighbourCounter counter(pattern, orders);
  const std::int64_t num_samples = num_tokens <= kMaxTabledTokens ? kMaxSeenTokens : kMaxSampledTokens;
  const std::int64_t num_looked_at = for_samples(num_tokens, num_samples, [&](std::int64_t t) {
    const std::int64_t in_run = t % run_length, run_end = std::min(num_tokens, t - in_run + run_length);
    const Cell cell = grid.cell(in_run);
    for (int side = 0; side < 3; ++side) {
      const Axis axis = grid.axis(side);
      const bool has_next = cell[static_cast<std::size_t>(side)] + 1 < axis.length && t + axis.step < run_end;
      if (has_next) counter.add_both_ways(t, t + axis.step);
    }
  });
  const auto share = counter.share();
  return share ? std::optional(NeighbourShare{*share, num_looked_at < num_tokens}) : std::nullopt;
}

}  // namespace hilbertring
