#pragma once

#include "core/block_attention.h"
#include "ring/ring_pass.h"
#include "ring/slice.h"

namespace hilbertring {

/// The slice's part of each tensor; `whole` is the shape of the problem.
ForwardOperands part_of(ForwardOperands operands, const Slice& slice, const Shape& whole);
BackwardOperands part_of(BackwardOperands operands, const Slice& slice, const Shape& whole);
Travellers part_of(Travellers travellers, const Slice& slice, const Shape& whole);

/// The rank's own operands with the tensors of the visiting side in their place. Times stay.
ForwardOperands with_visit(ForwardOperands operands, const Travellers& visiting);
BackwardOperands with_visit(BackwardOperands operands, Rotation rotation, const Travellers& visiting);

}  // namespace hilbertring
