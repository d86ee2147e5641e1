#include "drivers/row_sample.h"

#include "core/random.h"

namespace hilbertring {

std::vector<RowPlace> rows_to_compare(const Shape& shape, std::int64_t heads, const RowSample& sample, std::uint64_t stream) {
  const std::int64_t total = shape.batch * heads * shape.tokens;
  const bool takes_all = !sample.num_rows || *sample.num_rows >= total;
  std::vector<RowPlace> rows(static_cast<std::size_t>(takes_all ? total : *sample.num_rows));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto index =
        takes_all ? static_cast<std::int64_t>(i) : static_cast<std::int64_t>(random_bits(sample.seed, stream, i) % static_cast<std::uint64_t>(total));
    rows[i] = {index / (heads * shape.tokens), index / shape.tokens % heads, index % shape.tokens};
  }
  return rows;
}

}  // namespace hilbertring
