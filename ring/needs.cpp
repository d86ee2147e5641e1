#include "ring/needs.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace hilbertring {

namespace {

Position last_of(const Run& run) { return run[run.count - 1]; }

/// Number of positions in [begin, end) that lie in one of the runs, each of which covers the whole interval.
std::int64_t count_in_interval(std::int64_t begin, std::int64_t end, const std::vector<const Run*>& active) {
  std::int64_t period = 1;
  for (const Run* run : active) {
    if (run->stride == 1) return end - begin;
    period = std::min(std::lcm(period, run->stride), end - begin);
  }
  std::vector<char> covered(static_cast<std::size_t>(period), 0);
  for (const Run* run : active) {
    const std::int64_t phase = (run->first.value - begin) % run->stride;
    for (std::int64_t i = phase < 0 ? phase + run->stride : phase; i < period; i += run->stride) covered[static_cast<std::size_t>(i)] = 1;
  }
  const std::int64_t rest = (end - begin) % period;
  const std::int64_t in_period = std::accumulate(covered.begin(), covered.end(), std::int64_t{0});
  const std::int64_t in_rest = std::accumulate(covered.begin(), covered.begin() + rest, std::int64_t{0});
  return (end - begin) / period * in_period + in_rest;
}

}  // namespace

std::int64_t count_distinct(const RowSet& runs) {
  if (runs.empty()) return 0;
  if (runs.size() == 1) return runs.front().count;
  // Between two neighbouring ends of runs the set of active runs does not change.
  std::vector<std::int64_t> borders;
  for (const Run& run : runs) {
    borders.push_back(run.first.value);
    borders.push_back(last_of(run).value + 1);
  }
  std::sort(borders.begin(), borders.end());
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
  std::vector<const Run*> by_begin;
  for (const Run& run : runs) by_begin.push_back(&run);
  std::sort(by_begin.begin(), by_begin.end(), [](const Run* a, const Run* b) { return a->first < b->first; });

  std::int64_t total = 0;
  std::size_t next = 0;
  std::vector<const Run*> active;
  for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
    std::erase_if(active, [&](const Run* run) { return last_of(*run).value < borders[i]; });
    while (next < by_begin.size() && by_begin[next]->first.value <= borders[i]) active.push_back(by_begin[next++]);
    if (!active.empty()) total += count_in_interval(borders[i], borders[i + 1], active);
  }
  return total;
}

Needs::Needs(const Pattern& pattern, const Orders& orders, const ChunkPlacement& placement)
    : pattern_(pattern), placement_(placement), is_convex_(find_convexity()) {
  for (Rank k(0); k.value < placement.num_ranks(); ++k) spans_.push_back(placement.spans(k));
  make_classes();
  if (pattern.causal() == Causal::kSequence) find_times(orders);
}

Needs::Needs(const Pattern& part, const ChunkPlacement& placement, const Needs& whole)
    : pattern_(part),
      placement_(placement),
      spans_(whole.spans_),
      is_convex_(whole.is_convex_),
      first_key_time_(whole.first_key_time_),
      last_query_time_(whole.last_query_time_),
      rank_first_key_time_(whole.rank_first_key_time_),
      rank_last_query_time_(whole.rank_last_query_time_) {
  make_classes();
}

bool Needs::find_convexity() const {
  if (pattern_.causal() == Causal::kSequence) return false;
  // Every span of every rank must be long enough; only the last chunk can be shorter than the others.
  const Range<Position> first = placement_.positions(Chunk(0));
  const Range<Position> last = placement_.positions(Chunk(placement_.num_chunks() - 1));
  for (std::int64_t b = 0; b < pattern_.num_branches(); ++b) {
    if (pattern_.branch(b).convex_length() > std::min(first.size(), last.size())) return false;
  }
  return true;
}

void Needs::make_classes() {
  const Shape& shape = pattern_.shape();
  std::map<std::vector<std::int64_t>, std::int64_t> known;
  for (std::int64_t g = 0; g < shape.kv_heads; ++g) {
    // What counts is which kinds of query heads read the KV head.
    std::map<std::int64_t, std::int64_t> representative;
    for (std::int64_t i = 0; i < shape.heads_per_kv_head(); ++i) {
      const std::int64_t head = g * shape.heads_per_kv_head() + i;
      representative.emplace(pattern_.head_class(head), head);
    }
    std::vector<std::int64_t> kinds, heads;
    for (const auto& [kind, head] : representative) {
      kinds.push_back(kind);
      heads.push_back(head);
    }
    const auto [entry, is_new] = known.emplace(kinds, static_cast<std::int64_t>(key_classes_.size()));
    if (is_new) key_classes_.push_back({heads, 0});
    key_class_of_.push_back(entry->second);
    ++key_classes_[static_cast<std::size_t>(entry->second)].size;
  }
  query_classes_.resize(static_cast<std::size_t>(pattern_.num_head_classes()));
  for (std::int64_t head = 0; head < shape.heads; ++head) {
    HeadClass& head_class = query_classes_[static_cast<std::size_t>(pattern_.head_class(head))];
    if (head_class.size++ == 0) head_class.query_heads = {head};
    query_class_of_.push_back(pattern_.head_class(head));
  }
}

void Needs::find_times(const Orders& orders) {
  for (Chunk c(0); c.value < placement_.num_chunks(); ++c) {
    const Range<Position> positions = placement_.positions(c);
    first_key_time_.push_back(orders.keys->hull(positions).begin.value);
    last_query_time_.push_back(orders.queries->hull(positions).end.value - 1);
  }
  for (Rank k(0); k.value < placement_.num_ranks(); ++k) {
    std::int64_t first = placement_.num_tokens(), last = -1;
    for (Unit u = placement_.units(k).begin; u < placement_.units(k).end; ++u) {
      for (const Chunk c : placement_.chunks(u)) {
        first = std::min(first, first_key_time_[static_cast<std::size_t>(c.value)]);
        last = std::max(last, last_query_time_[static_cast<std::size_t>(c.value)]);
      }
    }
    rank_first_key_time_.push_back(first);
    rank_last_query_time_.push_back(last);
  }
}

std::int64_t Needs::class_of(Side side, std::int64_t head) const {
  return (side == Side::kKeys ? key_class_of_ : query_class_of_)[static_cast<std::size_t>(head)];
}

std::int64_t Needs::class_size(Side side, std::int64_t head_class) const { return classes(side)[static_cast<std::size_t>(head_class)].size; }

std::vector<Range<Position>> Needs::admissible_spans(Side side, Rank owner, Rank visitor, Range<Position> visitor_span) const {
  std::vector<Range<Position>> spans;
  for (const Range<Position>& span : spans_[static_cast<std::size_t>(owner.value)]) {
    switch (pattern_.causal()) {
      case Causal::kNone: spans.push_back(span); break;
      case Causal::kPosition:
        // Spans of different ranks are disjoint: one lies wholly before the other.
        if ((side == Side::kKeys) == (span.begin < visitor_span.begin)) spans.push_back(span);
        break;
      case Causal::kSequence: append_admissible_chunks(side, span, visitor, spans); break;
    }
  }
  return spans;
}

void Needs::append_admissible_chunks(Side side, Range<Position> span, Rank visitor, std::vector<Range<Position>>& spans) const {
  const std::int64_t chunk = placement_.positions(Chunk(0)).size();
  const auto rank = static_cast<std::size_t>(visitor.value);
  bool extends = false;
  for (Chunk c(span.begin.value / chunk); placement_.positions(c).begin < span.end && c.value < placement_.num_chunks(); ++c) {
    const auto index = static_cast<std::size_t>(c.value);
    const bool admissible = side == Side::kKeys ? Pattern::causality_allows(rank_last_query_time_[rank], first_key_time_[index])
                                                : Pattern::causality_allows(last_query_time_[index], rank_first_key_time_[rank]);
    if (admissible && extends) {
      spans.back().end = placement_.positions(c).end;
    } else if (admissible) {
      spans.push_back(placement_.positions(c));
    }
    extends = admissible;
  }
}

void Needs::append_rows(Side side, std::int64_t head_class, Range<Position> owner_span, Range<Position> visitor_span, RowSet& rows) const {
  for (const std::int64_t head : classes(side)[static_cast<std::size_t>(head_class)].query_heads) {
    for (std::int64_t b = 0; b < pattern_.num_branches(); ++b) {
      const Branch& branch = pattern_.branch(b);
      if (!branch.has_head(head)) continue;
      if (side == Side::kKeys) {
        branch.append_needed_keys(head, visitor_span, owner_span, rows);
      } else {
        branch.append_needed_queries(head, owner_span, visitor_span, rows);
      }
    }
  }
}

RowSet Needs::rows(Side side, std::int64_t head_class, Rank owner, Rank visitor) const {
  RowSet rows;
  for (const Range<Position>& visitor_span : spans_[static_cast<std::size_t>(visitor.value)]) {
    for (const Range<Position>& span : admissible_spans(side, owner, visitor, visitor_span)) {
      append_rows(side, head_class, span, visitor_span, rows);
    }
  }
  return rows;
}

bool Needs::is_needed(Chunk queries, Chunk keys) const {
  const Range<Position> query_positions = placement_.positions(queries);
  const Range<Position> key_positions = placement_.positions(keys);
  if (pattern_.causal() == Causal::kPosition && queries < keys) return false;
  if (pattern_.causal() == Causal::kSequence &&
      !Pattern::causality_allows(last_query_time_[static_cast<std::size_t>(queries.value)], first_key_time_[static_cast<std::size_t>(keys.value)])) {
    return false;
  }
  for (std::int64_t b = 0; b < pattern_.num_branches(); ++b) {
    if (!intersection(pattern_.branch(b).key_hull(query_positions), key_positions).is_empty()) return true;
  }
  return false;
}

}  // namespace hilbertring
