// Vector types and the few operations that decide bits, for each instruction set. Included once per target: no #pragma once.
#if defined(HILBERTRING_CPU_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HILBERTRING_CPU_LANES_INL_H_
#undef HILBERTRING_CPU_LANES_INL_H_
#else
#define HILBERTRING_CPU_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace hilbertring::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
using Lanes = hn::CappedTag<Real, 16>;
template <class Real>
using Vector = hn::Vec<Lanes<Real>>;

template <class Real>
constexpr std::int64_t num_lanes() {
  return static_cast<std::int64_t>(hn::MaxLanes(Lanes<Real>()));
}

/// a * b + c with one rounding, on every target.
template <class V>
HWY_INLINE V fused_multiply_add(V a, V b, V c) {
#if HWY_NATIVE_FMA
  return hn::MulAdd(a, b, c);
#else
  const hn::DFromV<V> d;
  return hn::Set(d, std::fma(hn::GetLane(a), hn::GetLane(b), hn::GetLane(c)));
#endif
}

/// Loads and stores of a row's last vector, which may stick out: the lanes outside are neither read nor written.
template <class Mask, class Real>
HWY_INLINE Vector<Real> load_first(Mask mask, std::size_t count, const Real* from) {
  const Lanes<Real> d;
  return static_cast<std::int64_t>(count) == num_lanes<Real>() ? hn::LoadU(d, from) : hn::MaskedLoad(mask, d, from);
}
template <class V, class Mask, class Real>
HWY_INLINE void store_first(V v, Mask mask, std::size_t count, Real* to) {
  const Lanes<Real> d;
  if (static_cast<std::int64_t>(count) == num_lanes<Real>()) {
    hn::StoreU(v, d, to);
  } else {
    hn::BlendedStore(v, mask, d, to);
  }
}

}  // namespace hilbertring::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
