#pragma once

#include <cmath>
#include <numbers>

namespace hilbertring {

/// +1, -1 or 0: applied to q.k first, so that the factor behind it is positive and keeps maxima maxima.
inline float score_sign(double scale) { return scale > 0 ? 1.0F : scale < 0 ? -1.0F : 0.0F; }

/// |scale| * log2(e), or 1 for a scale of 0: the sign has made all scores 0 then, and 0 times -infinity would be NaN.
inline float score_factor(double scale) { return scale == 0 ? 1.0F : static_cast<float>(std::abs(scale) * std::numbers::log2e); }

}  // namespace hilbertring
