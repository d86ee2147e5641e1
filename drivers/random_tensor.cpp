#include "drivers/random_tensor.h"

#include <array>

#include "core/random.h"
#include "drivers/slab.h"

namespace hilbertring {

namespace {

TensorId id_of(TensorName name) {
  switch (name) {
    case TensorName::kQ: return TensorId::kQ;
    case TensorName::kK: return TensorId::kK;
    case TensorName::kV: return TensorId::kV;
    default: return TensorId::kDo;
  }
}

}  // namespace

void fill_random_tokens(const RandomInputs& inputs, TensorName name, Range<SequenceIndex> tokens, std::span<std::byte> out, int num_threads) {
  const std::int64_t token_elements = heads_of(name, inputs.shape) * inputs.shape.head_dim;
  const std::int64_t num_elements = tokens.size() * token_elements;
  const TensorId id = id_of(name);
  for (std::int64_t b = 0; b < inputs.shape.batch; ++b) {
    const std::int64_t first_index = (b * inputs.shape.tokens + tokens.begin.value) * token_elements;
#pragma omp parallel for num_threads(num_threads)
    for (std::int64_t i = 0; i < num_elements; ++i) {
      store_element(out.data(), inputs.type, b * num_elements + i, normal_at(inputs.seed, id, first_index + i));
    }
  }
}

void read_random_row(const RandomInputs& inputs, TensorName name, std::int64_t batch, std::int64_t head, SequenceIndex token, std::span<double> row) {
  const std::int64_t first = element_index(name, inputs.shape, inputs.shape.tokens, batch, token.value, head, 0);
  std::array<std::byte, sizeof(double)> rounded{};
  for (std::size_t d = 0; d < row.size(); ++d) {
    store_element(rounded.data(), inputs.type, 0, normal_at(inputs.seed, id_of(name), first + static_cast<std::int64_t>(d)));
    row[d] = load_element(rounded.data(), inputs.type, 0);
  }
}

}  // namespace hilbertring
