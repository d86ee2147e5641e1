#include "io/dataset_shape.h"

#include <functional>
#include <numeric>

#include "core/error.h"

namespace hilbertring {

std::string_view to_string(TensorName name) {
  switch (name) {
    case TensorName::kQ: return "q";
    case TensorName::kK: return "k";
    case TensorName::kV: return "v";
    case TensorName::kDo: return "do";
    case TensorName::kO: return "o";
    case TensorName::kLse: return "lse";
    case TensorName::kDq: return "dq";
    case TensorName::kDk: return "dk";
    case TensorName::kRowMax: return "row_max";
    case TensorName::kRowSum: return "row_sum";
    case TensorName::kDv: break;
  }
  return "dv";
}

std::vector<std::int64_t> dataset_shape(TensorName name, const Shape& shape) {
  switch (name) {
    case TensorName::kLse:
    case TensorName::kRowMax:
    case TensorName::kRowSum: return {shape.batch, shape.heads, shape.tokens};
    case TensorName::kK:
    case TensorName::kV:
    case TensorName::kDk:
    case TensorName::kDv: return {shape.batch, shape.tokens, shape.kv_heads, shape.head_dim};
    default: return {shape.batch, shape.tokens, shape.heads, shape.head_dim};
  }
}

std::size_t token_dimension(TensorName name) { return is_row_scalar(name) ? 2 : 1; }

Slab token_slab(TensorName name, const std::vector<std::int64_t>& shape, Range<SequenceIndex> tokens, std::int64_t element_bytes,
                std::size_t num_bytes, const std::string& what) {
  const std::size_t dimension = token_dimension(name);
  const std::string range = "tokens [" + std::to_string(tokens.begin.value) + ", " + std::to_string(tokens.end.value) + ")";
  if (tokens.begin.value < 0 || tokens.size() < 0 || tokens.end.value > shape[dimension]) {
    throw usage_error(what + ": " + range + " are not within its " + std::to_string(shape[dimension]) + " tokens");
  }
  Slab slab;
  slab.start.resize(shape.size(), 0);
  slab.count.assign(shape.begin(), shape.end());
  slab.start[dimension] = static_cast<hsize_t>(tokens.begin.value);
  slab.count[dimension] = static_cast<hsize_t>(tokens.size());
  const std::int64_t slab_bytes = slab.num_elements() * element_bytes;
  if (static_cast<std::size_t>(slab_bytes) != num_bytes) {
    throw usage_error(what + ": " + range + " are " + std::to_string(slab_bytes) + " bytes, but the buffer has " + std::to_string(num_bytes));
  }
  return slab;
}

std::int64_t num_elements(const std::vector<std::int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::string print_shape(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

}  // namespace hilbertring
