#include "core/dilated_segment.h"

#include <algorithm>
#include <utility>

namespace hilbertring {

namespace {

/// Appends a run; one that goes on where the last run of this call (those from `begin` on) ends is joined to it, which keeps the lists short when
/// the dilation rate divides the segment length.
void append_run(std::vector<Run>& runs, std::size_t begin, const Run& run) {
  if (runs.size() > begin) {
    Run& last = runs.back();
    if (last.stride == run.stride && last[last.count] == run.first) {
      last.count += run.count;
      return;
    }
  }
  runs.push_back(run);
}

/// Query heads of branch `index`: all, or its own share of consecutive heads.
std::pair<std::int64_t, std::int64_t> heads_of_branch(const Specification& specification, std::int64_t num_heads, std::int64_t index) {
  if (specification.branch_heads == BranchHeads::kAll) return {0, num_heads};
  const auto num_branches = static_cast<std::int64_t>(specification.segment_lengths.size());
  const std::int64_t base = num_heads / num_branches;
  const std::int64_t num_with_one_more = num_heads % num_branches;
  const std::int64_t begin = index * base + std::min(index, num_with_one_more);
  return {begin, begin + base + (index < num_with_one_more ? 1 : 0)};
}

std::int64_t offset_of_head(Offset offset, std::int64_t head, std::int64_t num_heads, std::int64_t dilation_rate) {
  switch (offset) {
    case Offset::kZero: return 0;
    case Offset::kHeadMod: return head % dilation_rate;
    case Offset::kHeadBlock: break;
  }
  return head / ceil_div(num_heads, dilation_rate);
}

}  // namespace

DilatedSegment::DilatedSegment(std::int64_t segment_length, std::int64_t dilation_rate, Dilate dilate, std::int64_t num_tokens,
                               std::vector<std::int64_t> offsets)
    : segment_length_(std::min(segment_length, num_tokens)),
      dilation_rate_(dilation_rate),
      dilate_(dilate),
      num_tokens_(num_tokens),
      offsets_(std::move(offsets)) {}

Range<Position> DilatedSegment::segment(std::int64_t index) const {
  const std::int64_t begin = index * segment_length_;
  return {Position(begin), Position(std::min(begin + segment_length_, num_tokens_))};
}

bool DilatedSegment::is_on_grid(std::int64_t head, Position p) const { return p.value % segment_length_ % dilation_rate_ == offset(head); }

bool DilatedSegment::allows(std::int64_t head, Position query, Position key) const {
  if (segment_of(query) != segment_of(key) || !is_on_grid(head, key)) return false;
  return dilate_ == Dilate::kKv || is_on_grid(head, query);
}

Run DilatedSegment::dilated_run(std::int64_t head, Range<Position> range) const {
  const Position grid_begin = segment(segment_of(range.begin)).begin + offset(head);
  const std::int64_t num_skipped = std::max<std::int64_t>(0, ceil_div(range.begin - grid_begin, dilation_rate_));
  const Position first = grid_begin + num_skipped * dilation_rate_;
  const std::int64_t count = first < range.end ? ceil_div(range.end - first, dilation_rate_) : 0;
  return {.first = first, .stride = dilation_rate_, .count = count};
}

Block DilatedSegment::segment_block(std::int64_t head, std::int64_t segment_index, Range<Position> queries, Range<Position> keys) const {
  const Range<Position> own_queries = intersection(queries, segment(segment_index));
  const Range<Position> own_keys = intersection(keys, segment(segment_index));
  const Run every_query{.first = own_queries.begin, .stride = 1, .count = own_queries.size()};
  return {.queries = dilate_ == Dilate::kKv ? every_query : dilated_run(head, own_queries), .keys = dilated_run(head, own_keys), .all_pairs = true};
}

template <class Visit>
void DilatedSegment::for_each_block(std::int64_t head, Range<Position> queries, Range<Position> keys, Visit&& visit) const {
  if (queries.is_empty() || keys.is_empty()) return;
  const std::int64_t first_segment = segment_of(std::max(queries.begin, keys.begin));
  const std::int64_t last_segment = segment_of(std::min(queries.end, keys.end) - 1);
  for (std::int64_t index = first_segment; index <= last_segment; ++index) {
    const Block block = segment_block(head, index, queries, keys);
    if (block.queries.count > 0 && block.keys.count > 0) visit(block);
  }
}

void DilatedSegment::append_blocks(std::int64_t head, Range<Position> queries, Range<Position> keys, std::vector<Block>& blocks) const {
  for_each_block(head, queries, keys, [&](const Block& block) { blocks.push_back(block); });
}

void DilatedSegment::append_needed_keys(std::int64_t head, Range<Position> queries, Range<Position> keys, std::vector<Run>& runs) const {
  for_each_block(head, queries, keys, [&, begin = runs.size()](const Block& block) { append_run(runs, begin, block.keys); });
}

void DilatedSegment::append_needed_queries(std::int64_t head, Range<Position> queries, Range<Position> keys, std::vector<Run>& runs) const {
  for_each_block(head, queries, keys, [&, begin = runs.size()](const Block& block) { append_run(runs, begin, block.queries); });
}

Range<Position> DilatedSegment::touched_segments(Range<Position> range) const {
  if (range.is_empty()) return {range.begin, range.begin};
  return {segment(segment_of(range.begin)).begin, segment(segment_of(range.end - 1)).end};
}

Range<Position> DilatedSegment::key_hull(Range<Position> queries) const { return touched_segments(queries); }

Range<Position> DilatedSegment::query_hull(Range<Position> keys) const { return touched_segments(keys); }

std::unique_ptr<const Branch> make_dilated_segment(const Specification& specification, const Shape& shape, std::int64_t index) {
  const auto at = static_cast<std::size_t>(index);
  const std::int64_t dilation_rate = specification.dilation_rates[at];
  const auto [first_head, end_head] = heads_of_branch(specification, shape.heads, index);
  std::vector<std::int64_t> offsets(static_cast<std::size_t>(shape.heads), DilatedSegment::kAbsent);
  for (std::int64_t head = first_head; head < end_head; ++head) {
    offsets[static_cast<std::size_t>(head)] = offset_of_head(specification.offset, head, shape.heads, dilation_rate);
  }
  return std::make_unique<DilatedSegment>(specification.segment_lengths[at], dilation_rate, specification.dilate, shape.tokens, std::move(offsets));
}

}  // namespace hilbertring
