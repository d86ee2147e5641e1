#include "ring/operand_parts.h"

namespace hilbertring {

ForwardOperands part_of(ForwardOperands operands, const Slice& slice, const Shape& whole) {
  for (ConstTensor* tensor : {&operands.q, &operands.k, &operands.v}) *tensor = part_of(*tensor, slice, whole);
  for (Tensor* tensor : {&operands.row_max, &operands.row_sum, &operands.o}) *tensor = part_of(*tensor, slice, whole);
  return operands;
}

BackwardOperands part_of(BackwardOperands operands, const Slice& slice, const Shape& whole) {
  for (ConstTensor* tensor : {&operands.q, &operands.d_o, &operands.k, &operands.v, &operands.lse2, &operands.delta}) {
    *tensor = part_of(*tensor, slice, whole);
  }
  for (Tensor* tensor : {&operands.dq, &operands.dk, &operands.dv}) *tensor = part_of(*tensor, slice, whole);
  return operands;
}

Travellers part_of(Travellers travellers, const Slice& slice, const Shape& whole) {
  for (Bundle* bundle : {&travellers.operands, &travellers.accumulators}) {
    for (Tensor& tensor : *bundle) tensor = part_of(tensor, slice, whole);
  }
  return travellers;
}

ForwardOperands with_visit(ForwardOperands operands, const Travellers& visiting) {
  operands.k = visiting.operands[0];
  operands.v = visiting.operands[1];
  return operands;
}

BackwardOperands with_visit(BackwardOperands operands, Rotation rotation, const Travellers& visiting) {
  if (rotation == Rotation::kKvUp) {
    operands.k = visiting.operands[0];
    operands.v = visiting.operands[1];
    operands.dk = visiting.accumulators[0];
    operands.dv = visiting.accumulators[1];
  } else {
    operands.q = visiting.operands[0];
    operands.d_o = visiting.operands[1];
    operands.lse2 = visiting.operands[2];
    operands.delta = visiting.operands[3];
    operands.dq = visiting.accumulators[0];
  }
  return operands;
}

}  // namespace hilbertring
