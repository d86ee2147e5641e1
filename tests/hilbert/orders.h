#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hilbert/order.h"

namespace hilbertring::testing {

inline Specification curve_specification(Curve curve, std::vector<std::int64_t> grid = {}, std::int64_t curve_chunk = 0) {
  Specification specification;
  specification.curve = curve;
  specification.grid = std::move(grid);
  specification.curve_chunk = curve_chunk;
  return specification;
}

inline std::shared_ptr<const Order> curve_order(Curve curve, std::int64_t num_tokens, std::vector<std::int64_t> grid = {},
                                                std::int64_t curve_chunk = 0) {
  return make_order(curve_specification(curve, std::move(grid), curve_chunk), num_tokens);
}

inline std::vector<std::int64_t> filled(const Order& order, Range<Position> range) {
  std::vector<std::int64_t> entries(static_cast<std::size_t>(range.size()), -1);
  order.fill(range, entries);
  return entries;
}

inline std::vector<std::int64_t> filled(const Order& order) { return filled(order, {Position(0), Position(order.num_tokens())}); }

inline bool is_permutation(std::span<const std::int64_t> entries) {
  std::vector<bool> seen(entries.size(), false);
  for (const std::int64_t t : entries) {
    if (t < 0 || t >= static_cast<std::int64_t>(entries.size()) || seen[static_cast<std::size_t>(t)]) return false;
    seen[static_cast<std::size_t>(t)] = true;
  }
  return true;
}

/// FNV-1a over whole entries: a written-out order in one number.
inline std::uint64_t fingerprint(std::span<const std::int64_t> entries) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::int64_t t : entries) hash = (hash ^ static_cast<std::uint64_t>(t)) * 0x100000001b3;
  return hash;
}

/// Every kind of order that one number of tokens allows: for properties that hold for all of them. Grids with room to spare, one side of a cell,
/// three sides, runs with a short last one; and a table.
struct NamedOrder {
  std::string name;
  std::shared_ptr<const Order> order;
};

inline std::vector<NamedOrder> all_orders(std::int64_t num_tokens) {
  std::vector<NamedOrder> orders{{"identity", make_identity_order(num_tokens)}};
  const std::vector<std::vector<std::int64_t>> grids{{},
                                                     {num_tokens / 7 + 1, 7},
                                                     {11, num_tokens / 11 + 3},
                                                     {num_tokens, 1},
                                                     {1, num_tokens + 2},
                                                     {num_tokens / 12 + 1, 4, 3},
                                                     {5, 9, num_tokens / 45 + 2}};
  for (const Curve curve : {Curve::kHilbert, Curve::kSnake, Curve::kMorton}) {
    for (const std::int64_t curve_chunk : {std::int64_t{0}, num_tokens / 3 + 1, std::int64_t{10}}) {
      for (std::size_t g = 0; g < grids.size(); ++g) {
        const std::string name =
            "curve " + std::to_string(static_cast<int>(curve)) + " grid " + std::to_string(g) + " run " + std::to_string(curve_chunk);
        orders.push_back({name, curve_order(curve, num_tokens, grids[g], curve_chunk)});
      }
    }
  }
  const auto table = std::make_shared<std::vector<std::int64_t>>(filled(*orders.back().order));
  orders.push_back({"file", make_order(curve_specification(Curve::kFile), num_tokens, table)});
  return orders;
}

}  // namespace hilbertring::testing
