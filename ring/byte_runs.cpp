#include "ring/byte_runs.h"

#include <algorithm>
#include <cstddef>
#include <span>

#include "ring/row_selection.h"

namespace hilbertring {

namespace {

/// Each costs a copy engine about 2 microseconds, in which a link between GPUs moves half a megabyte.
constexpr std::size_t kMostRuns = 128;
/// cudaMemcpy2D takes pitches below 2^31.
constexpr std::int64_t kLargestPitch = std::int64_t{1} << 30;

/// Runs of rows of one head, as long as each other and as far apart.
struct RowRuns {
  std::int64_t first = 0;
  std::int64_t length = 0;
  std::int64_t stride = 0;
  std::int64_t count = 1;

  bool goes_on_with(std::int64_t row, std::int64_t num_rows) const { return num_rows == length && (count == 1 || row == first + count * stride); }
};

std::vector<RowRuns> row_runs(const RowSelection& rows, std::int64_t head) {
  std::vector<RowRuns> runs;
  rows.for_each_run(head, [&](LocalRow row, std::int64_t num_rows) {
    if (runs.empty() || !runs.back().goes_on_with(row.value, num_rows)) return runs.push_back({.first = row.value, .length = num_rows});
    if (runs.back().count == 1) runs.back().stride = row.value - runs.back().first;
    ++runs.back().count;
  });
  return runs;
}

/// Appends the runs of heads `first_head` .. of the tensor counted through all batch elements, whose rows are the same.
void append(std::vector<ByteRuns>& all, const ConstTensor& tensor, std::int64_t first_head, std::int64_t num_heads, std::span<const RowRuns> runs) {
  const std::int64_t head_bytes = tensor.rows * tensor.row_bytes();
  for (const RowRuns& run : runs) {
    const ByteRuns one{.offset = first_head * head_bytes + run.first * tensor.row_bytes(),
                       .width = run.length * tensor.row_bytes(),
                       .pitch = run.stride * tensor.row_bytes(),
                       .count = run.count};
    if (run.count == 1 && head_bytes <= kLargestPitch) {
      all.push_back({.offset = one.offset, .width = one.width, .pitch = head_bytes, .count = num_heads});
      continue;
    }
    for (std::int64_t i = 0; i < num_heads; ++i) {
      all.push_back(one);
      all.back().offset += i * head_bytes;
    }
  }
}

}  // namespace

std::optional<std::vector<ByteRuns>> byte_runs(const ConstTensor& tensor, const RowSelection& rows) {
  if (rows.is_everything()) return std::vector<ByteRuns>{{.width = tensor.size_bytes(), .pitch = tensor.size_bytes()}};
  std::vector<ByteRuns> all;
  const std::int64_t num_heads = tensor.batch * tensor.heads;
  for (std::int64_t first = 0, end = 0; first < num_heads; first = end) {
    const auto is_alike = [&](std::int64_t head) { return rows.is_alike(first % tensor.heads, head % tensor.heads); };
    for (end = first + 1; end < num_heads && is_alike(end);) ++end;
    append(all, tensor, first, end - first, row_runs(rows, first % tensor.heads));
    if (all.size() > kMostRuns) return std::nullopt;
  }
  return all;
}

}  // namespace hilbertring
