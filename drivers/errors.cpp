#include "drivers/errors.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hilbertring {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// NaN where either is NaN; 0 for equal infinities, whose difference would be NaN.
double error_of(double actual, double expected) { return actual == expected ? 0.0 : std::abs(actual - expected); }

double fraction_of_bound(double error, double bound) {
  if (error == 0) return 0;
  if (!(error <= bound)) return error > bound && bound > 0 && error < kInfinity ? error / bound : kInfinity;
  return error / bound;
}

}  // namespace

void Errors::add(const ElementPlace& place, double actual, double expected, double bound) {
  const double error = error_of(actual, expected);
  const double fraction = fraction_of_bound(error, bound);
  ++num_elements_;
  // A NaN must not be hidden by std::max: it stays, as the largest error there can be.
  max_error_ = std::isnan(error) || std::isnan(max_error_) ? std::numeric_limits<double>::quiet_NaN() : std::max(max_error_, error);
  sum_of_squares_ += error * error;
  if (fraction <= worst_fraction_) return;
  worst_fraction_ = fraction;
  worst_place_ = place;
  worst_actual_ = actual;
  worst_expected_ = expected;
}

void Errors::add_row(ElementPlace place, std::span<const double> actual, std::span<const double> expected, std::span<const double> bounds) {
  for (std::size_t d = 0; d < actual.size(); ++d) {
    place.column = static_cast<std::int64_t>(d);
    add(place, actual[d], expected[d], bounds[d]);
  }
}

void Errors::merge(const Errors& other) {
  num_elements_ += other.num_elements_;
  max_error_ =
      std::isnan(other.max_error_) || std::isnan(max_error_) ? std::numeric_limits<double>::quiet_NaN() : std::max(max_error_, other.max_error_);
  sum_of_squares_ += other.sum_of_squares_;
  if (other.worst_fraction_ <= worst_fraction_) return;
  worst_fraction_ = other.worst_fraction_;
  worst_place_ = other.worst_place_;
  worst_actual_ = other.worst_actual_;
  worst_expected_ = other.worst_expected_;
}

double Errors::rms_error() const { return num_elements_ == 0 ? 0.0 : std::sqrt(sum_of_squares_ / static_cast<double>(num_elements_)); }

}  // namespace hilbertring
