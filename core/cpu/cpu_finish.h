#pragma once

#include "core/block_attention.h"

namespace hilbertring {

/// log2(x) for positive, finite, normal x, to 4e-16: the same bits on every machine, which libm doesn't promise. +inf and NaN come back as they are.
double log2_of(double x);

/// `BlockAttention::finish_forward` and `dot_rows`: row by row, on `num_threads` threads.
template <class Real>
void finish_rows(const ForwardOperands& operands, int num_threads);
template <class Real>
void dot_rows_of(const Tensor& delta, const ConstTensor& d_o, const ConstTensor& o, int num_threads);

extern template void finish_rows<float>(const ForwardOperands&, int);
extern template void finish_rows<double>(const ForwardOperands&, int);
extern template void dot_rows_of<float>(const Tensor&, const ConstTensor&, const ConstTensor&, int);
extern template void dot_rows_of<double>(const Tensor&, const ConstTensor&, const ConstTensor&, int);

}  // namespace hilbertring
