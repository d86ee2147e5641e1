#include "core/operand_checks.h"

#include <map>
#include <string>

#include "core/error.h"

namespace hilbertring {

namespace {

std::string to_string(const ChunkRows& rows) {
  return "positions " + std::to_string(rows.positions.begin.value) + " to " + std::to_string(rows.positions.end.value);
}

void check_tensor(const std::string& name, const ConstTensor& tensor, ElementType type, const ConstTensor& like, std::int64_t columns) {
  const bool fits =
      tensor.type == type && tensor.batch == like.batch && tensor.heads == like.heads && tensor.rows == like.rows && tensor.columns == columns;
  if (fits) return;
  const auto shown = [](const ConstTensor& t, ElementType shown_type, std::int64_t shown_columns) {
    return "[" + std::to_string(t.batch) + ", " + std::to_string(t.heads) + ", " + std::to_string(t.rows) + ", " + std::to_string(shown_columns) +
           "] of " + std::string(hilbertring::to_string(shown_type));
  };
  throw usage_error("tensor " + name + " is " + shown(tensor, tensor.type, tensor.columns) + ", but must be " + shown(like, type, columns));
}

/// The inputs that both passes share.
void check_inputs(const Pattern& pattern, const ConstTensor& q, const ConstTensor& k, const ConstTensor& v) {
  const Shape& shape = pattern.shape();
  const ConstTensor query_like{nullptr, q.type, shape.batch, shape.heads, q.rows, shape.head_dim};
  const ConstTensor key_like{nullptr, q.type, shape.batch, shape.kv_heads, k.rows, shape.head_dim};
  check_tensor("q", q, q.type, query_like, shape.head_dim);
  check_tensor("k", k, q.type, key_like, shape.head_dim);
  check_tensor("v", v, q.type, key_like, shape.head_dim);
}

void check_rows(const char* side, const ChunkRows& chunk, std::int64_t num_rows, bool needs_times, std::span<const std::int64_t> times) {
  const std::int64_t end = chunk.first_row.value + chunk.positions.size();
  if (chunk.first_row.value < 0 || chunk.positions.size() < 0 || end > num_rows) {
    throw usage_error(std::string(side) + " chunk of " + to_string(chunk) + " lies in rows " + std::to_string(chunk.first_row.value) + " to " +
                      std::to_string(end) + ", but the tensor has " + std::to_string(num_rows));
  }
  if (needs_times && std::ssize(times) < end) {
    throw usage_error(std::string(side) + " times have " + std::to_string(times.size()) + " entries, but causality asks for row " +
                      std::to_string(end - 1));
  }
}

void check_pairs(const Pattern& pattern, std::span<const ChunkPair> pairs, std::int64_t num_query_rows, std::int64_t num_key_rows,
                 const Times& times) {
  const bool needs_times = pattern.causal() == Causal::kSequence;
  for (const ChunkPair& pair : pairs) {
    check_rows("query", pair.queries, num_query_rows, needs_times, times.queries);
    check_rows("key", pair.keys, num_key_rows, needs_times, times.keys);
  }
}

void check_gradients(const BackwardOperands& operands) {
  const ElementType real = arithmetic_type(operands.q.type);
  check_tensor("d_o", operands.d_o, operands.q.type, operands.q, operands.q.columns);
  check_tensor("lse2", operands.lse2, real, operands.q, 1);
  check_tensor("delta", operands.delta, real, operands.q, 1);
  check_tensor("dq", operands.dq, real, operands.q, operands.q.columns);
  check_tensor("dk", operands.dk, real, operands.k, operands.q.columns);
  check_tensor("dv", operands.dv, real, operands.k, operands.q.columns);
}

}  // namespace

void check_state(const ForwardOperands& operands) {
  const ElementType real = arithmetic_type(operands.q.type);
  check_tensor("row_max", operands.row_max, real, operands.q, 1);
  check_tensor("row_sum", operands.row_sum, real, operands.q, 1);
  check_tensor("o", operands.o, real, operands.q, operands.q.columns);
}

void check_forward(const Pattern& pattern, const ForwardOperands& operands, std::span<const ChunkPair> pairs) {
  check_inputs(pattern, operands.q, operands.k, operands.v);
  check_state(operands);
  check_pairs(pattern, pairs, operands.q.rows, operands.k.rows, operands.times);
}

void check_backward(const Pattern& pattern, const BackwardOperands& operands, std::span<const ChunkPair> pairs) {
  check_inputs(pattern, operands.q, operands.k, operands.v);
  check_gradients(operands);
  check_pairs(pattern, pairs, operands.q.rows, operands.k.rows, operands.times);
}

void check_dot_rows(const Tensor& delta, const ConstTensor& d_o, const ConstTensor& o) {
  const ElementType real = arithmetic_type(d_o.type);
  check_tensor("delta", delta, real, d_o, 1);
  check_tensor("o", o, real, d_o, d_o.columns);
}

std::vector<Meetings> group_pairs(std::span<const ChunkPair> pairs, ChunkRows ChunkPair::*own, ChunkRows ChunkPair::*other) {
  std::vector<Meetings> groups;
  std::map<LocalRow, std::size_t> group_of_row;
  for (const ChunkPair& pair : pairs) {
    const ChunkRows& chunk = pair.*own;
    const auto [place, is_new] = group_of_row.try_emplace(chunk.first_row, groups.size());
    if (is_new) groups.push_back({.chunk = chunk, .others = {}});
    Meetings& group = groups[place->second];
    if (group.chunk.positions != chunk.positions) {
      throw usage_error("chunks of " + to_string(group.chunk) + " and " + to_string(chunk) + " both begin at row " +
                        std::to_string(chunk.first_row.value) + ", but chunks must be disjoint");
    }
    group.others.push_back(pair.*other);
  }
  return groups;
}

}  // namespace hilbertring
