#include "hilbert/order.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "hilbert/curve.h"
#include "hilbert/grid.h"

namespace hilbertring {
namespace {

void check_num_tokens(std::int64_t num_tokens) {
  if (num_tokens < 1 || num_tokens > kMaxCells) throw usage_error("order: tokens = " + std::to_string(num_tokens) + " must be 1 to 2^60");
}

/// An index from outside. Inside, indices are right by construction.
void check_index(const char* name, std::int64_t value, std::int64_t num_tokens) {
  if (value >= 0 && value < num_tokens) return;
  throw usage_error(std::string("order: ") + name + " " + std::to_string(value) + " is not in [0, " + std::to_string(num_tokens) + ")");
}

void check_range(Range<Position> range, std::int64_t num_tokens) {
  if (range.begin.value >= 0 && range.begin <= range.end && range.end.value <= num_tokens) return;
  throw usage_error("order: positions [" + std::to_string(range.begin.value) + ", " + std::to_string(range.end.value) + ") are not in [0, " +
                    std::to_string(num_tokens) + ")");
}

void check_fill(Range<Position> range, std::size_t out_size, std::int64_t num_tokens) {
  check_range(range, num_tokens);
  if (static_cast<std::int64_t>(out_size) == range.size()) return;
  throw usage_error("order: " + std::to_string(out_size) + " entries to fill for " + std::to_string(range.size()) + " positions");
}

void check_hull(Range<Position> range, std::int64_t num_tokens) {
  check_range(range, num_tokens);
  if (range.is_empty()) throw usage_error("order: no hull of the empty range at position " + std::to_string(range.begin.value));
}

class IdentityOrder final : public Order {
 public:
  explicit IdentityOrder(std::int64_t num_tokens) : Order(num_tokens) {}

  SequenceIndex sequence_index(Position p) const override {
    check_index("position", p.value, num_tokens());
    return SequenceIndex(p.value);
  }
  Position position(SequenceIndex t) const override {
    check_index("sequence index", t.value, num_tokens());
    return Position(t.value);
  }
  void fill(Range<Position> range, std::span<std::int64_t> out) const override {
    check_fill(range, out.size(), num_tokens());
    std::iota(out.begin(), out.end(), range.begin.value);
  }
  Range<SequenceIndex> hull(Range<Position> range) const override {
    check_hull(range, num_tokens());
    return {SequenceIndex(range.begin.value), SequenceIndex(range.end.value)};
  }
};

/// One curve after the other, each over a run of `run_length` tokens; the last run may be shorter, on a curve of its own.
class CurveOrder final : public Order {
 public:
  CurveOrder(std::int64_t num_tokens, const GridCurve& curve, std::optional<GridCurve> last_curve)
      : Order(num_tokens), run_length_(curve.num_tokens()), curve_(curve), last_curve_(std::move(last_curve)) {}

  SequenceIndex sequence_index(Position p) const override {
    check_index("position", p.value, num_tokens());
    const std::int64_t start = start_of(p.value);
    return SequenceIndex(start + curve_at(start).cell_at(p.value - start));
  }
  Position position(SequenceIndex t) const override {
    check_index("sequence index", t.value, num_tokens());
    const std::int64_t start = start_of(t.value);
    return Position(start + curve_at(start).place_of(t.value - start));
  }
  void fill(Range<Position> range, std::span<std::int64_t> out) const override {
    check_fill(range, out.size(), num_tokens());
    for (std::int64_t p = range.begin.value; p < range.end.value;) {
      const std::int64_t start = start_of(p);
      const std::int64_t count = std::min(range.end.value, end_of(start)) - p;
      curve_at(start).fill(p - start, start, out.subspan(static_cast<std::size_t>(p - range.begin.value), static_cast<std::size_t>(count)));
      p += count;
    }
  }
  Range<SequenceIndex> hull(Range<Position> range) const override {
    check_hull(range, num_tokens());
    // Runs ascend, so only the first and the last one that the range touches decide.
    const std::int64_t first = start_of(range.begin.value), last = start_of(range.end.value - 1);
    const std::int64_t begin = range.begin.value - first, end = std::min(range.end.value, end_of(first)) - first;
    const GridCurve::Extremes in_first = curve_at(first).extremes(begin, end);
    const std::int64_t highest = first == last ? first + in_first.highest : last + curve_at(last).extremes(0, range.end.value - last).highest;
    return {SequenceIndex(first + in_first.lowest), SequenceIndex(highest + 1)};
  }

 private:
  std::int64_t start_of(std::int64_t index) const { return index - index % run_length_; }
  std::int64_t end_of(std::int64_t start) const { return std::min(start + run_length_, num_tokens()); }
  const GridCurve& curve_at(std::int64_t start) const { return last_curve_ && start + run_length_ > num_tokens() ? *last_curve_ : curve_; }

  std::int64_t run_length_;
  GridCurve curve_;
  std::optional<GridCurve> last_curve_;
};

Error table_error(std::int64_t p, std::int64_t t, const std::string& rule) {
  return input_error("/order[" + std::to_string(p) + "] = " + std::to_string(t) + rule);
}

/// The inverse of a table in which every entry of [0, N) occurs once; throws input_error naming the first entry that is wrong.
std::vector<std::int64_t> checked_inverse(const std::vector<std::int64_t>& table) {
  const auto num_tokens = static_cast<std::int64_t>(table.size());
  std::vector<std::int64_t> inverse(table.size(), -1);
  for (std::int64_t p = 0; p < num_tokens; ++p) {
    const std::int64_t t = table[static_cast<std::size_t>(p)];
    if (t < 0 || t >= num_tokens) throw table_error(p, t, " is not a sequence index in [0, " + std::to_string(num_tokens) + ")");
    std::int64_t& place = inverse[static_cast<std::size_t>(t)];
    if (place >= 0) throw table_error(p, t, " is already at [" + std::to_string(place) + "]: every sequence index occurs once");
    place = p;
  }
  return inverse;
}

/// A table from a file. The inverse takes as much memory again; the check that the table is a permutation yields it.
class TableOrder final : public Order {
 public:
  explicit TableOrder(std::shared_ptr<const std::vector<std::int64_t>> table)
      : Order(static_cast<std::int64_t>(table->size())), table_(std::move(table)), inverse_(checked_inverse(*table_)) {}

  SequenceIndex sequence_index(Position p) const override {
    check_index("position", p.value, num_tokens());
    return SequenceIndex((*table_)[static_cast<std::size_t>(p.value)]);
  }
  Position position(SequenceIndex t) const override {
    check_index("sequence index", t.value, num_tokens());
    return Position(inverse_[static_cast<std::size_t>(t.value)]);
  }
  void fill(Range<Position> range, std::span<std::int64_t> out) const override {
    check_fill(range, out.size(), num_tokens());
    std::ranges::copy(entries(range), out.begin());
  }
  Range<SequenceIndex> hull(Range<Position> range) const override {
    check_hull(range, num_tokens());
    const auto [lowest, highest] = std::ranges::minmax(entries(range));
    return {SequenceIndex(lowest), SequenceIndex(highest + 1)};
  }

 private:
  std::span<const std::int64_t> entries(Range<Position> range) const {
    return std::span(*table_).subspan(static_cast<std::size_t>(range.begin.value), static_cast<std::size_t>(range.size()));
  }

  std::shared_ptr<const std::vector<std::int64_t>> table_;
  std::vector<std::int64_t> inverse_;
};

GridCurve run_curve(const Specification& specification, std::int64_t run_length) {
  return {specification.curve, Grid(grid_of_run(specification, run_length), run_length)};
}

std::shared_ptr<const Order> make_table_order(std::int64_t num_tokens, std::shared_ptr<const std::vector<std::int64_t>> table) {
  if (!table) throw input_error("/order is missing: curve = file needs it");
  if (static_cast<std::int64_t>(table->size()) != num_tokens) {
    throw input_error("/order has " + std::to_string(table->size()) + " entries, but there are " + std::to_string(num_tokens) + " tokens");
  }
  return std::make_shared<TableOrder>(std::move(table));
}

}  // namespace

std::vector<std::int64_t> default_grid(std::int64_t num_tokens) {
  check_num_tokens(num_tokens);
  std::int64_t cols = 1;
  while (cols * cols < num_tokens) cols *= 2;
  return {ceil_div(num_tokens, cols), cols};
}

std::int64_t curve_run_length(const Specification& specification, std::int64_t num_tokens) {
  const bool has_runs = specification.curve_chunk > 0 && specification.curve != Curve::kFile;
  return has_runs ? std::min(specification.curve_chunk, num_tokens) : num_tokens;
}

std::vector<std::int64_t> grid_of_run(const Specification& specification, std::int64_t run_length) {
  return specification.grid.empty() ? default_grid(run_length) : specification.grid;
}

std::shared_ptr<const Order> make_identity_order(std::int64_t num_tokens) {
  check_num_tokens(num_tokens);
  return std::make_shared<IdentityOrder>(num_tokens);
}

std::shared_ptr<const Order> make_order(const Specification& specification, std::int64_t num_tokens,
                                        std::shared_ptr<const std::vector<std::int64_t>> file_order) {
  check_num_tokens(num_tokens);
  if (specification.curve == Curve::kIdentity) return make_identity_order(num_tokens);
  if (specification.curve == Curve::kFile) return make_table_order(num_tokens, std::move(file_order));

  const std::int64_t chunk = specification.curve_chunk;
  if (chunk < 0) throw usage_error("curve_chunk = " + std::to_string(chunk) + " must not be negative");
  const std::int64_t run_length = curve_run_length(specification, num_tokens);
  std::optional<GridCurve> last_curve;
  if (num_tokens % run_length != 0) last_curve = run_curve(specification, num_tokens % run_length);
  return std::make_shared<CurveOrder>(num_tokens, run_curve(specification, run_length), last_curve);
}

Orders make_orders(const Specification& specification, std::int64_t num_tokens, std::shared_ptr<const std::vector<std::int64_t>> file_order) {
  const std::shared_ptr<const Order> keys = make_order(specification, num_tokens, std::move(file_order));
  return {specification.curve_on == CurveOn::kKv ? make_identity_order(num_tokens) : keys, keys};
}

}  // namespace hilbertring
