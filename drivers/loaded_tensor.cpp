#include "drivers/loaded_tensor.h"

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "drivers/slab.h"

namespace hilbertring {

namespace {

std::string text_of(const std::vector<std::int64_t>& sizes) {
  std::string text;
  for (const std::int64_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

}  // namespace

const DatasetInfo& dataset_info(const CaseFile& file, TensorName name) {
  for (const DatasetInfo& info : file.datasets()) {
    if (info.name == name) return info;
  }
  throw input_error(file.path() + ": '/" + std::string(to_string(name)) + "' is missing");
}

void require_shape(const CaseFile& file, TensorName name, const Shape& shape) {
  std::vector<std::int64_t> expected = {shape.batch, shape.tokens, heads_of(name, shape), shape.head_dim};
  if (name == TensorName::kLse) expected = {shape.batch, shape.heads, shape.tokens};
  const DatasetInfo& info = dataset_info(file, name);
  if (info.shape == expected) return;
  throw input_error(file.path() + ": '/" + std::string(to_string(name)) + "' has the shape " + text_of(info.shape) + ", but the case demands " +
                    text_of(expected));
}

LoadedTensor::LoadedTensor(CaseFile& file, TensorName name, const Shape& shape)
    : name_(name), type_(dataset_info(file, name).type), shape_(shape), elements_(slab_bytes(name, shape, type_, shape.tokens), nullptr) {
  require_shape(file, name, shape);
  file.read(name, {SequenceIndex(0), SequenceIndex(shape.tokens)}, elements_.bytes());
}

double LoadedTensor::at(std::int64_t batch, std::int64_t token, std::int64_t head, std::int64_t column) const {
  return load_element(elements_.data(), type_, element_index(name_, shape_, shape_.tokens, batch, token, head, column));
}

void LoadedTensor::read_row(std::int64_t batch, std::int64_t token, std::int64_t head, std::span<double> row) const {
  const std::int64_t first = element_index(name_, shape_, shape_.tokens, batch, token, head, 0);
  visit_element_type(type_, [&](auto storage) {
    using Storage = decltype(storage);
    const auto* elements = reinterpret_cast<const Storage*>(elements_.data()) + first;
    for (std::size_t d = 0; d < row.size(); ++d) {
      if constexpr (std::is_same_v<Storage, double>) {
        row[d] = elements[d];
      } else {
        row[d] = static_cast<double>(to_float(elements[d]));
      }
    }
  });
}

RowReader row_reader(const LoadedTensor& tensor) {
  return [&tensor](std::int64_t batch, std::int64_t head, SequenceIndex token, std::span<double> row) {
    tensor.read_row(batch, token.value, head, row);
  };
}

}  // namespace hilbertring
