#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/index.h"
#include "core/specification.h"

namespace hilbertring {

/// A permutation: position on the curve <-> sequence index. Immutable, safe for concurrent use.
class Order {
 public:
  virtual ~Order() = default;

  std::int64_t num_tokens() const { return num_tokens_; }
  /// O(log N), no table (except for `file`).
  virtual SequenceIndex sequence_index(Position p) const = 0;
  virtual Position position(SequenceIndex t) const = 0;
  /// out[i] = sequence index of position range.begin + i, amortised O(1) each. out.size() == range.size().
  virtual void fill(Range<Position> range, std::span<std::int64_t> out) const = 0;
  /// Smallest range that holds the sequence indices of all positions of a nonempty range. O(log N) (`file`: O(range)).
  virtual Range<SequenceIndex> hull(Range<Position> range) const = 0;

 protected:
  explicit Order(std::int64_t num_tokens) : num_tokens_(num_tokens) {}

 private:
  std::int64_t num_tokens_;
};

/// Grid {rows, cols}: cols the smallest power of two with cols^2 >= n, rows = ceil(n / cols).
std::vector<std::int64_t> default_grid(std::int64_t num_tokens);

/// Tokens of a run that the specification lays its curve over: curve_chunk, or all, as where the order is a file's. The last run may be shorter.
std::int64_t curve_run_length(const Specification& specification, std::int64_t num_tokens);
/// Sides of the grid on which such a run lies: the specification's, or the default.
std::vector<std::int64_t> grid_of_run(const Specification& specification, std::int64_t run_length);

/// Order by the specification's curve, grid and curve_chunk. `file_order` (position -> sequence index, N entries) is for Curve::kFile only and is
/// shared, not copied. Throws input_error when it is missing, has another length or is no permutation; usage_error when the grid has too few cells.
std::shared_ptr<const Order> make_order(const Specification& specification, std::int64_t num_tokens,
                                        std::shared_ptr<const std::vector<std::int64_t>> file_order = nullptr);
std::shared_ptr<const Order> make_identity_order(std::int64_t num_tokens);

/// The orders of queries and of keys: the same object, unless curve_on = kv.
struct Orders {
  std::shared_ptr<const Order> queries;
  std::shared_ptr<const Order> keys;
};
Orders make_orders(const Specification& specification, std::int64_t num_tokens,
                   std::shared_ptr<const std::vector<std::int64_t>> file_order = nullptr);

}  // namespace hilbertring
