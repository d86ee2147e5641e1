#include "core/cuda/hopper_rounds.cuh"

namespace hilbertring {

namespace {

template <class Stored, int kColumns>
void launch_rounds_of(const Launch& keys, const Launch& queries, const ScoreGradientRounds& rounds, const BackwardOperands& operands) {
  const HopperRoundsParameters<Stored> parameters{.of_keys = hopper_backward_parameters<Owner::kKeys, Stored>(keys, operands),
                                                  .keys = mapped_rows<Stored>(operands.k, queries.strides, kHopperBackwardOthers),
                                                  .query_work = work_view(queries, operands.times, operands.q, operands.k),
                                                  .dq = device_rows<float>(operands.dq),
                                                  .rounds = rounds};
  launch_checked(hopper_rounds<Stored, kColumns>, rounds.num_items(), kRoundThreads, sizeof(RoundShared<kColumns>), keys.stream, parameters);
}

template <class Stored>
void launch_rounds(const Launch& keys, const Launch& queries, const ScoreGradientRounds& rounds, const BackwardOperands& operands) {
  operands.q.columns <= 64 ? launch_rounds_of<Stored, 64>(keys, queries, rounds, operands)
                           : launch_rounds_of<Stored, 128>(keys, queries, rounds, operands);
}

}  // namespace

void launch_backward_in_rounds(const Launch& keys, const Launch& queries, const ScoreGradientRounds& rounds, const BackwardOperands& operands) {
  operands.q.type == ElementType::kFloat16 ? launch_rounds<Float16>(keys, queries, rounds, operands)
                                           : launch_rounds<Bfloat16>(keys, queries, rounds, operands);
}

}  // namespace hilbertring
