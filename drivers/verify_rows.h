#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/pattern.h"
#include "core/reference.h"
#include "drivers/errors.h"
#include "drivers/loaded_tensor.h"
#include "drivers/row_sample.h"
#include "hilbert/order.h"
#include "io/case_file.h"

namespace hilbertring {

struct TensorErrors {
  TensorName name;
  Errors errors;
};

/// Where the worst element lies, what it is and what was expected there.
std::string worst_element_text(const TensorErrors& compared);

/// Compares a result with the float64 reference of its case, row by row; row_bounds.h has the bounds.
///
/// Tensor cores multiply softmax weights p (and ds) rounded to the inputs' type W: u(W) A more for o and dv, 2 u(W) A for dq and dk (their delta is
/// made of such an o). A result says so in its attribute `weights_type`.
///
/// dk and dv need lse and delta of every query: if all rows are compared, the reference's own; if rows are sampled, those of the result (lse as
/// stored, delta = dO . o), whose roundings add u(T_out) A to the bound of dk, and L, the largest |lse|, to its S and to that of dv.
class RowVerifier {
 public:
  struct Data;
  using Progress = std::function<void(std::int64_t done, std::int64_t total)>;

  /// `expected` may be null: then the reference's values are expected; otherwise the file's, with u(type) of the file's dataset added to u(T_out).
  /// The pattern is the result's, and so is `weights_type` if it is not given. Loads all tensors. Throws input_error when something is missing or has
  /// the wrong shape, failure without memory.
  RowVerifier(CaseFile& case_file, CaseFile& result, CaseFile* expected, std::optional<ElementType> weights_type = std::nullopt);
  ~RowVerifier();

  /// Whether the result has gradients to compare.
  bool has_gradient() const;
  std::vector<TensorErrors> compare(const RowSample& sample, const Progress& progress) const;

 private:
  std::unique_ptr<const Data> data_;
};

}  // namespace hilbertring
