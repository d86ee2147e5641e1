#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "core/buffer.h"
#include "core/reference.h"
#include "core/shape.h"
#include "io/case_file.h"

namespace hilbertring {

/// A whole tensor of a file in memory, in the dataset's own type: for verification, which is the work of one process.
class LoadedTensor {
 public:
  /// `shape` is the case's; throws input_error when the file has no such tensor or one of another shape.
  LoadedTensor(CaseFile& file, TensorName name, const Shape& shape);
  /// Of elements that are at hand, laid out as in a file.
  LoadedTensor(TensorName name, ElementType type, const Shape& shape, Buffer elements)
      : name_(name), type_(type), shape_(shape), elements_(std::move(elements)) {}

  TensorName name() const { return name_; }
  ElementType type() const { return type_; }
  std::span<const std::byte> bytes() const { return elements_.bytes(); }
  double at(std::int64_t batch, std::int64_t token, std::int64_t head, std::int64_t column) const;
  /// One row as float64: row.size() is D (lse: 1). Reentrant.
  void read_row(std::int64_t batch, std::int64_t token, std::int64_t head, std::span<double> row) const;

 private:
  TensorName name_;
  ElementType type_;
  Shape shape_;
  Buffer elements_;
};

/// The tensor's rows as the reference asks for them; it must outlive the reader.
RowReader row_reader(const LoadedTensor& tensor);

/// The dataset's line in the file's list; throws input_error when it is missing.
const DatasetInfo& dataset_info(const CaseFile& file, TensorName name);
/// Throws input_error unless the dataset has the shape that the case demands.
void require_shape(const CaseFile& file, TensorName name, const Shape& shape);

}  // namespace hilbertring
