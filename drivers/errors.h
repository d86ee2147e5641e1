#pragma once

#include <cstdint>
#include <span>

namespace hilbertring {

/// Where an element lies in its tensor, in sequence order.
struct ElementPlace {
  std::int64_t batch = 0;
  std::int64_t token = 0;
  std::int64_t head = 0;
  std::int64_t column = 0;
};

/// Errors of some elements against expected values, each measured by a bound of its own.
class Errors {
 public:
  /// Passes if |actual - expected| <= bound; infinities must be equal, and NaN never passes.
  void add(const ElementPlace& place, double actual, double expected, double bound);
  /// Elements of a whole row, columns from 0.
  void add_row(ElementPlace place, std::span<const double> actual, std::span<const double> expected, std::span<const double> bounds);
  /// As if the other's elements had been added after this one's.
  void merge(const Errors& other);

  std::int64_t num_elements() const { return num_elements_; }
  double max_error() const { return max_error_; }
  double rms_error() const;
  /// Largest error as a fraction of its bound; infinity for NaN. At most 1 for a pass.
  double worst_fraction() const { return worst_fraction_; }
  ElementPlace worst_place() const { return worst_place_; }
  double worst_actual() const { return worst_actual_; }
  double worst_expected() const { return worst_expected_; }
  bool passes() const { return num_elements_ > 0 && worst_fraction_ <= 1; }

 private:
  std::int64_t num_elements_ = 0;
  double max_error_ = 0;
  double sum_of_squares_ = 0;
  double worst_fraction_ = -1;
  ElementPlace worst_place_;
  double worst_actual_ = 0;
  double worst_expected_ = 0;
};

}  // namespace hilbertring
