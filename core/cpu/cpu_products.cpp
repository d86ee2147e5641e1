#include <algorithm>
#include <array>
#include <cstring>

#include "core/cpu/cpu_kernels.h"
#include "core/cpu/cpu_targets.h"

// Highway compiles this file once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/cpu_products.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/cpu/cpu_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hilbertring::HWY_NAMESPACE {

/// Vectors of accumulators beside each other: with kRowBlock rows they fill the registers (32 with AVX-512 and NEON, else 16) but for B and A.
constexpr int kMaxVectors = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON ? 4 : 2;

/// A block of C, kRows x kVectors vectors, in registers from its first to its last product.
template <int kRows, int kVectors, class Real>
HWY_INLINE void multiply_block(const Product<Real>& product, std::int64_t row, std::int64_t column) {
  const Lanes<Real> d;
  constexpr std::int64_t kLanes = num_lanes<Real>();
  Vector<Real> sum[kRows][kVectors];
  Real* c = product.c + row * product.c_stride + column;
  const auto last_lanes = static_cast<std::size_t>(std::min(kLanes, product.num_columns - column - (kVectors - 1) * kLanes));
  const auto last = hn::FirstN(d, last_lanes);

#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      if (!product.accumulate) {
        sum[i][j] = hn::Zero(d);
      } else {
        const Real* from = c + i * product.c_stride + j * kLanes;
        sum[i][j] = j + 1 < kVectors ? hn::LoadU(d, from) : load_first(last, last_lanes, from);
        if (product.rescale != nullptr) sum[i][j] = hn::Mul(sum[i][j], hn::Set(d, product.rescale[row + i]));
      }
    }
  }

  const Real* a = product.a + row * product.a_row_stride;
  const Real* b = product.b + column;
  for (std::int64_t k = 0; k < product.num_inner; ++k, a += product.a_inner_stride, b += product.b_stride) {
    Vector<Real> b_row[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) b_row[j] = hn::Load(d, b + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Vector<Real> a_element = hn::Set(d, a[i * product.a_row_stride]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) sum[i][j] = fused_multiply_add(a_element, b_row[j], sum[i][j]);
    }
  }

#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      Real* to = c + i * product.c_stride + j * kLanes;
      if (j + 1 < kVectors) {
        hn::StoreU(sum[i][j], d, to);
      } else {
        store_first(sum[i][j], last, last_lanes, to);
      }
    }
  }
}

/// All rows of C in kVectors vectors of columns: that panel of B stays in the first-level cache.
template <int kVectors, class Real>
HWY_INLINE void multiply_panel(const Product<Real>& product, std::int64_t column) {
  std::int64_t row = 0;
  for (; row + 6 <= product.num_rows; row += 6) multiply_block<6, kVectors>(product, row, column);
  static_assert(kRowBlock == 6);
  if (row + 4 <= product.num_rows) {
    multiply_block<4, kVectors>(product, row, column);
    row += 4;
  }
  if (row + 2 <= product.num_rows) {
    multiply_block<2, kVectors>(product, row, column);
    row += 2;
  }
  if (row < product.num_rows) multiply_block<1, kVectors>(product, row, column);
}

template <class Real>
HWY_INLINE void multiply_real(const Product<Real>& product) {
  constexpr std::int64_t kLanes = num_lanes<Real>();
  std::int64_t column = 0;
  for (; column + (kMaxVectors - 1) * kLanes < product.num_columns; column += kMaxVectors * kLanes) multiply_panel<kMaxVectors>(product, column);
  if constexpr (kMaxVectors > 2) {
    if (column + 2 * kLanes < product.num_columns) {
      multiply_panel<3>(product, column);
      return;
    }
    if (column + kLanes < product.num_columns) {
      multiply_panel<2>(product, column);
      return;
    }
  }
  if (column < product.num_columns) multiply_panel<1>(product, column);
}

template <class Real, class Stored>
HWY_INLINE void convert_row(const std::byte* from, std::int64_t num_columns, Real* HWY_RESTRICT to) {
  for (std::int64_t c = 0; c < num_columns; ++c) {
    Stored stored;
    std::memcpy(&stored, from + c * static_cast<std::int64_t>(sizeof(Stored)), sizeof(Stored));
    if constexpr (std::is_same_v<Real, Stored>) {
      to[c] = stored;
    } else {
      to[c] = static_cast<Real>(to_float(stored));
    }
  }
  for (std::int64_t c = num_columns; c < round_up(num_columns, kColumnBlock); ++c) to[c] = 0;
}

template <class Real, class Stored>
HWY_INLINE void pack_rows_of(const SourceRows& rows, Real* packed) {
  const std::int64_t stride = packed_stride(rows.num_columns);
  for (std::int64_t i = 0; i < rows.num_rows; ++i) {
    convert_row<Real, Stored>(rows.first + i * rows.stride_bytes, rows.num_columns, packed + i * stride);
  }
}

/// to[j * to_stride + i] = factor * from[i * from_stride + j] for a square of one 128-bit vector's lanes.
template <class Real>
HWY_INLINE void transpose_square(const Real* from, std::int64_t from_stride, Real factor, Real* to, std::int64_t to_stride) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) to[j * to_stride + i] = factor * from[i * from_stride + j];
  }
#else
  if constexpr (sizeof(Real) == 4) {
    const hn::FixedTag<Real, 4> d;
    const auto scale = hn::Set(d, factor);
    const auto r0 = hn::Mul(hn::LoadU(d, from), scale);
    const auto r1 = hn::Mul(hn::LoadU(d, from + from_stride), scale);
    const auto r2 = hn::Mul(hn::LoadU(d, from + 2 * from_stride), scale);
    const auto r3 = hn::Mul(hn::LoadU(d, from + 3 * from_stride), scale);
    const auto low02 = hn::InterleaveLower(d, r0, r2);
    const auto low13 = hn::InterleaveLower(d, r1, r3);
    const auto high02 = hn::InterleaveUpper(d, r0, r2);
    const auto high13 = hn::InterleaveUpper(d, r1, r3);
    hn::StoreU(hn::InterleaveLower(d, low02, low13), d, to);
    hn::StoreU(hn::InterleaveUpper(d, low02, low13), d, to + to_stride);
    hn::StoreU(hn::InterleaveLower(d, high02, high13), d, to + 2 * to_stride);
    hn::StoreU(hn::InterleaveUpper(d, high02, high13), d, to + 3 * to_stride);
  } else {
    const hn::FixedTag<Real, 2> d;
    const auto scale = hn::Set(d, factor);
    for (int i = 0; i < 4; i += 2) {
      for (int j = 0; j < 4; j += 2) {
        const auto r0 = hn::Mul(hn::LoadU(d, from + i * from_stride + j), scale);
        const auto r1 = hn::Mul(hn::LoadU(d, from + (i + 1) * from_stride + j), scale);
        hn::StoreU(hn::InterleaveLower(d, r0, r1), d, to + j * to_stride + i);
        hn::StoreU(hn::InterleaveUpper(d, r0, r1), d, to + (j + 1) * to_stride + i);
      }
    }
  }
#endif
}

/// Kept to a few rows at a time, so that the converted rows are still in the first-level cache when they are transposed.
constexpr std::int64_t kRowsAtOnce = 16;
constexpr std::int64_t kMaxHeadDim = 256;

template <class Real, class Stored>
HWY_INLINE void pack_transposed_of(const SourceRows& rows, Real factor, Real* packed, std::int64_t stride) {
  alignas(64) std::array<Real, static_cast<std::size_t>(kRowsAtOnce * kMaxHeadDim)> converted;
  const std::int64_t width = round_up(rows.num_columns, kColumnBlock);
  static_assert(kRowsAtOnce == kColumnBlock);
  for (std::int64_t first = 0; first < rows.num_rows; first += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, rows.num_rows - first);
    for (std::int64_t i = 0; i < count; ++i) {
      convert_row<Real, Stored>(rows.first + (first + i) * rows.stride_bytes, rows.num_columns, converted.data() + i * width);
    }
    if (count < kRowsAtOnce) std::fill(converted.data() + count * width, converted.data() + kRowsAtOnce * width, Real{0});
    for (std::int64_t c = 0; c < rows.num_columns; c += 4) {
      for (std::int64_t i = 0; i < kRowsAtOnce; i += 4) {
        transpose_square(converted.data() + i * width + c, width, factor, packed + c * stride + first + i, stride);
      }
    }
  }
}

/// Calls `f(Stored{})` for a type that Real can hold: float64 goes with double only.
template <class Real, class F>
HWY_INLINE void visit_stored(ElementType type, F&& f) {
  if constexpr (sizeof(Real) == 8) {
    f(double{});
  } else {
    switch (type) {
      case ElementType::kFloat16: return f(Float16{});
      case ElementType::kBfloat16: return f(Bfloat16{});
      default: return f(float{});
    }
  }
}

template <class Real>
HWY_INLINE void pack_rows_real(const SourceRows& rows, Real* packed) {
  visit_stored<Real>(rows.type, [&]<class Stored>(Stored) HWY_ATTR { pack_rows_of<Real, Stored>(rows, packed); });
}

template <class Real>
HWY_INLINE void pack_transposed_real(const SourceRows& rows, Real factor, Real* packed, std::int64_t stride) {
  visit_stored<Real>(rows.type, [&]<class Stored>(Stored) HWY_ATTR { pack_transposed_of<Real, Stored>(rows, factor, packed, stride); });
}

// Highway exports functions, not templates.
void multiply_float(const Product<float>& product) { multiply_real(product); }
void multiply_double(const Product<double>& product) { multiply_real(product); }
void pack_rows_float(const SourceRows& rows, float* packed) { pack_rows_real(rows, packed); }
void pack_rows_double(const SourceRows& rows, double* packed) { pack_rows_real(rows, packed); }
void pack_transposed_float(const SourceRows& rows, float factor, float* packed, std::int64_t stride) {
  pack_transposed_real(rows, factor, packed, stride);
}
void pack_transposed_double(const SourceRows& rows, double factor, double* packed, std::int64_t stride) {
  pack_transposed_real(rows, factor, packed, stride);
}

}  // namespace hilbertring::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hilbertring {

namespace {
HWY_EXPORT(multiply_float);
HWY_EXPORT(multiply_double);
HWY_EXPORT(pack_rows_float);
HWY_EXPORT(pack_rows_double);
HWY_EXPORT(pack_transposed_float);
HWY_EXPORT(pack_transposed_double);
}  // namespace

void multiply(const Product<float>& product) { HWY_DYNAMIC_DISPATCH(multiply_float)(product); }
void multiply(const Product<double>& product) { HWY_DYNAMIC_DISPATCH(multiply_double)(product); }
void pack_rows(const SourceRows& rows, float* packed) { HWY_DYNAMIC_DISPATCH(pack_rows_float)(rows, packed); }
void pack_rows(const SourceRows& rows, double* packed) { HWY_DYNAMIC_DISPATCH(pack_rows_double)(rows, packed); }
void pack_transposed(const SourceRows& rows, float factor, float* packed, std::int64_t stride) {
  HWY_DYNAMIC_DISPATCH(pack_transposed_float)(rows, factor, packed, stride);
}
void pack_transposed(const SourceRows& rows, double factor, double* packed, std::int64_t stride) {
  HWY_DYNAMIC_DISPATCH(pack_transposed_double)(rows, factor, packed, stride);
}

}  // namespace hilbertring
#endif
