#include "drivers/bit_comparison.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/buffer.h"
#include "drivers/loaded_tensor.h"
#include "drivers/slab.h"

namespace hilbertring {

namespace {

constexpr std::int64_t kPieceBytes = std::int64_t{64} << 20;

std::string exact_text(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

/// Batch, token, head and column of an element of a slab of tokens.
std::string place_text(TensorName name, const Shape& shape, Range<SequenceIndex> tokens, std::int64_t index) {
  const bool is_lse = name == TensorName::kLse;
  const std::int64_t columns = columns_of(name, shape);
  const std::int64_t row = index / columns;
  const std::int64_t heads = heads_of(name, shape);
  const std::int64_t token = is_lse ? row % tokens.size() : row / heads % tokens.size();
  const std::int64_t head = is_lse ? row / tokens.size() % heads : row % heads;
  const std::string column = is_lse ? "" : ", column " + std::to_string(index % columns);
  return "batch " + std::to_string(row / (heads * tokens.size())) + ", token " + std::to_string(tokens.begin.value + token) + ", head " +
         std::to_string(head) + column;
}

class DatasetComparison {
 public:
  DatasetComparison(CaseFile& a, CaseFile& b, TensorName name)
      : a_(a), b_(b), type_(dataset_info(a, name).type), element_bytes_(size_bytes(type_)), difference_{.name = name} {}

  BitDifference execute() {
    const Shape& shape = a_.shape();
    const std::int64_t piece = std::clamp<std::int64_t>(kPieceBytes / slab_bytes(difference_.name, shape, type_, 1), 1, shape.tokens);
    const Buffer left(slab_bytes(difference_.name, shape, type_, piece), nullptr), right(left.size_bytes(), nullptr);
    for (SequenceIndex begin(0); begin < SequenceIndex(shape.tokens); begin = begin + piece) {
      const Range<SequenceIndex> tokens = {begin, SequenceIndex(std::min(begin.value + piece, shape.tokens))};
      const auto size = static_cast<std::size_t>(slab_bytes(difference_.name, shape, type_, tokens.size()));
      a_.read(difference_.name, tokens, left.bytes().first(size));
      b_.read(difference_.name, tokens, right.bytes().first(size));
      compare(tokens, left.data(), right.data(), static_cast<std::int64_t>(size) / element_bytes_);
    }
    return std::move(difference_);
  }

 private:
  void compare(Range<SequenceIndex> tokens, const std::byte* left, const std::byte* right, std::int64_t num_elements) {
    difference_.num_elements += num_elements;
    if (std::memcmp(left, right, static_cast<std::size_t>(num_elements * element_bytes_)) == 0) return;
    for (std::int64_t i = 0; i < num_elements; ++i) {
      if (std::memcmp(left + i * element_bytes_, right + i * element_bytes_, static_cast<std::size_t>(element_bytes_)) == 0) continue;
      if (difference_.num_different++ > 0) continue;
      difference_.first = place_text(difference_.name, a_.shape(), tokens, i) + ": " + exact_text(load_element(left, type_, i)) + " and " +
                          exact_text(load_element(right, type_, i));
    }
  }

  CaseFile& a_;
  CaseFile& b_;
  ElementType type_;
  std::int64_t element_bytes_;
  BitDifference difference_;
};

BitDifference compare_dataset(CaseFile& a, CaseFile& b, TensorName name) {
  if (!a.has(name) || !b.has(name)) return {.name = name, .first = "missing in " + (a.has(name) ? b : a).path()};
  const DatasetInfo& left = dataset_info(a, name);
  const DatasetInfo& right = dataset_info(b, name);
  if (left.type != right.type) return {.name = name, .first = std::string(to_string(left.type)) + " and " + std::string(to_string(right.type))};
  if (left.shape != right.shape) return {.name = name, .first = "shapes differ"};
  return DatasetComparison(a, b, name).execute();
}

}  // namespace

std::vector<BitDifference> compare_bits(CaseFile& a, CaseFile& b) {
  std::vector<BitDifference> differences;
  for (const TensorName name : {TensorName::kO, TensorName::kLse, TensorName::kDq, TensorName::kDk, TensorName::kDv}) {
    if (a.has(name) || b.has(name)) differences.push_back(compare_dataset(a, b, name));
  }
  return differences;
}

}  // namespace hilbertring
