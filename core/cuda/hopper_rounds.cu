#include "core/cuda/hopper_rounds.cuh"

namespace hilbertring {

namespace {

template <class Stored>
void launch_rounds(const Launch& keys, const Launch& queries, const ScoreGradientRounds& rounds, const BackwardOperands& operands) {
  const HopperRoundsParameters<Stored> parameters{.of_keys = hopper_backward_parameters<Owner::kKeys, Stored>(keys, operands),
                                                  .keys = mapped_rows<Stored>(operands.k, queries.strides, kScoreBlockRows),
                                                  .query_work = work_view(queries, operands.times, operands.q, operands.k),
                                                  .dq = device_rows<float>(operands.dq),
                                                  .rounds = rounds};
  launch_checked(hopper_rounds<Stored, kRoundColumns>, rounds.num_items(), kRoundThreads, sizeof(RoundShared<kRoundColumns>), keys.stream, parameters);
}

}  // namespace

void launch_backward_in_rounds(const Launch& keys, const Launch& queries, const ScoreGradientRounds& rounds, const BackwardOperands& operands) {
  operands.q.type == ElementType::kFloat16 ? launch_rounds<Float16>(keys, queries, rounds, operands)
                                           : launch_rounds<Bfloat16>(keys, queries, rounds, operands);
}

}  // namespace hilbertring
