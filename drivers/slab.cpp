#include "drivers/slab.h"

#include "core/error.h"
#include "ring/agreement.h"

namespace hilbertring {

std::vector<TensorName> input_names(bool has_gradient) {
  std::vector<TensorName> names = {TensorName::kQ, TensorName::kK, TensorName::kV};
  if (has_gradient) names.push_back(TensorName::kDo);
  return names;
}

std::vector<TensorName> result_names(bool has_gradient) {
  std::vector<TensorName> names = {TensorName::kO, TensorName::kLse};
  if (has_gradient) names.insert(names.end(), {TensorName::kDq, TensorName::kDk, TensorName::kDv});
  return names;
}

ShardTensor shard_tensor(TensorName name) {
  switch (name) {
    case TensorName::kQ: return ShardTensor::kQ;
    case TensorName::kK: return ShardTensor::kK;
    case TensorName::kV: return ShardTensor::kV;
    case TensorName::kDo: return ShardTensor::kDo;
    case TensorName::kO: return ShardTensor::kO;
    case TensorName::kLse: return ShardTensor::kLse;
    case TensorName::kDq: return ShardTensor::kDq;
    case TensorName::kDk: return ShardTensor::kDk;
    case TensorName::kDv: return ShardTensor::kDv;
    case TensorName::kRowMax: return ShardTensor::kRowMax;
    case TensorName::kRowSum: return ShardTensor::kRowSum;
  }
  throw usage_error("a tensor without a name");
}

std::int64_t heads_of(TensorName name, const Shape& shape) {
  switch (name) {
    case TensorName::kK:
    case TensorName::kV:
    case TensorName::kDk:
    case TensorName::kDv: return shape.kv_heads;
    default: return shape.heads;
  }
}

std::int64_t columns_of(TensorName name, const Shape& shape) { return is_row_scalar(name) ? 1 : shape.head_dim; }

std::int64_t slab_bytes(TensorName name, const Shape& shape, ElementType type, std::int64_t num_tokens) {
  return shape.batch * num_tokens * heads_of(name, shape) * columns_of(name, shape) * size_bytes(type);
}

void load_tensor(RingAttention& attention, CaseFile& file, TensorName name) {
  attention.load_in_pieces(shard_tensor(name), [&](Range<SequenceIndex> tokens, std::span<std::byte> piece) { file.read(name, tokens, piece); });
}

void store_tensor(RingAttention& attention, TensorName name, ElementType type, FileWriter& file) {
  attention.store_in_pieces(shard_tensor(name), type,
                            [&](Range<SequenceIndex> tokens, std::span<const std::byte> piece) { file.write(name, tokens, piece); });
}

Buffer make_slab(Transport& transport, TensorName name, const Shape& shape, ElementType type, std::int64_t num_tokens) {
  Buffer slab;
  agree(transport, [&] { slab = Buffer(slab_bytes(name, shape, type, num_tokens), nullptr); });
  return slab;
}

std::int64_t element_index(TensorName name, const Shape& shape, std::int64_t num_tokens, std::int64_t batch, std::int64_t token, std::int64_t head,
                           std::int64_t column) {
  const std::int64_t heads = heads_of(name, shape);
  if (is_row_scalar(name)) return (batch * heads + head) * num_tokens + token;
  return ((batch * num_tokens + token) * heads + head) * columns_of(name, shape) + column;
}

}  // namespace hilbertring
