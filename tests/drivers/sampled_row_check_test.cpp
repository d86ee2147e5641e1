#include "drivers/sampled_row_check.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <mutex>

#include "core/buffer.h"
#include "drivers/slab.h"
#include "ring/attention.h"
#include "ring/loopback.h"
#include "ring/redistribution.h"

namespace hilbertring {
namespace {

constexpr std::uint64_t kSeed = 5;
constexpr std::int64_t kNumRanks = 3;

struct NamedTensor {
  ShardTensor tensor;
  TensorName name;
};

Problem small_problem() {
  Problem problem{.shape = {.batch = 2, .tokens = 90, .heads = 4, .kv_heads = 2, .head_dim = 8}, .specification = {}, .with_gradient = true};
  problem.specification.segment_lengths = {30, 60};
  problem.specification.dilation_rates = {1, 3};
  problem.specification.offset = Offset::kHeadMod;
  problem.specification.causal = Causal::kSequence;
  problem.specification.chunk = 10;
  return problem;
}

Buffer slab_of(TensorName name, const Shape& shape, Range<SequenceIndex> tokens) {
  return Buffer(slab_bytes(name, shape, ElementType::kFloat32, tokens.size()), nullptr);
}

/// Computes on all ranks, changes the last element of `spoilt` on the last rank by `change`, and compares: the errors of all ranks, by tensor.
std::vector<TensorErrors> compare_spoilt(const RowSample& sample, TensorName spoilt, double change) {
  const auto schedule =
      std::make_shared<const Schedule>(small_problem(), make_orders(small_problem().specification, small_problem().shape.tokens), kNumRanks);
  const RandomInputs inputs{small_problem().shape, ElementType::kFloat32, kSeed};
  std::vector<TensorErrors> all;
  std::mutex all_mutex;
  run_loopback(kNumRanks, [&](Transport& transport) {
    const Range<SequenceIndex> tokens = sequence_slab(inputs.shape.tokens, kNumRanks, transport.rank());
    RingAttention attention(transport, schedule, {});
    for (const auto& [tensor, name] : std::to_array<NamedTensor>({{ShardTensor::kQ, TensorName::kQ},
                                                                  {ShardTensor::kK, TensorName::kK},
                                                                  {ShardTensor::kV, TensorName::kV},
                                                                  {ShardTensor::kDo, TensorName::kDo}})) {
      const Buffer slab = slab_of(name, inputs.shape, tokens);
      fill_random_tokens(inputs, name, tokens, slab.bytes(), 1);
      attention.load(tensor, slab.bytes());
    }
    attention.forward();
    attention.backward();
    SampledRowCheck check(transport, *schedule, inputs, ElementType::kFloat32, ElementType::kFloat32, sample, 1);
    for (const auto& [tensor, name] : std::to_array<NamedTensor>({{ShardTensor::kO, TensorName::kO},
                                                                  {ShardTensor::kLse, TensorName::kLse},
                                                                  {ShardTensor::kDq, TensorName::kDq},
                                                                  {ShardTensor::kDk, TensorName::kDk},
                                                                  {ShardTensor::kDv, TensorName::kDv}})) {
      const Buffer slab = slab_of(name, inputs.shape, tokens);
      attention.store(tensor, ElementType::kFloat32, slab.bytes());
      const std::int64_t last = slab.size_bytes() / 4 - 1;
      if (name == spoilt && transport.rank() == Rank(kNumRanks - 1)) {
        store_element(slab.data(), ElementType::kFloat32, last, load_element(slab.data(), ElementType::kFloat32, last) + change);
      }
      check.take(name, slab.bytes());
    }
    const std::vector<TensorErrors> errors = check.compare();
    const std::lock_guard lock(all_mutex);
    if (all.empty()) all.resize(errors.size());
    for (std::size_t i = 0; i < errors.size(); ++i) {
      all[i].name = errors[i].name;
      all[i].errors.merge(errors[i].errors);
    }
  });
  return all;
}

TEST(SampledRowCheck, PassesRightResultsSampledOrWhole) {
  for (const RowSample& sample : {RowSample{.num_rows = 20, .seed = 1}, RowSample{}}) {
    for (const TensorErrors& compared : compare_spoilt(sample, TensorName::kO, 0)) {
      EXPECT_TRUE(compared.errors.passes()) << worst_element_text(compared);
      EXPECT_LT(compared.errors.worst_fraction(), 0.5) << to_string(compared.name);
    }
  }
}

TEST(SampledRowCheck, ComparesSoManyRowsOfEachTensor) {
  const std::vector<TensorErrors> all = compare_spoilt({.num_rows = 20, .seed = 1}, TensorName::kO, 0);

  ASSERT_EQ(all.size(), 5U);
  for (const TensorErrors& compared : all) {
    EXPECT_EQ(compared.errors.num_elements(), compared.name == TensorName::kLse ? 20 : 20 * 8) << to_string(compared.name);
  }
}

TEST(SampledRowCheck, FindsOneWrongElementOfAnyTensorAndNamesIt) {
  for (const TensorName spoilt : {TensorName::kO, TensorName::kLse, TensorName::kDq, TensorName::kDk, TensorName::kDv}) {
    for (const TensorErrors& compared : compare_spoilt({}, spoilt, 0.01)) {
      if (compared.name != spoilt) continue;
      EXPECT_FALSE(compared.errors.passes()) << to_string(spoilt);
      EXPECT_EQ(compared.errors.worst_place().batch, 1);
      EXPECT_EQ(compared.errors.worst_place().token, 89);
    }
  }
}

}  // namespace
}  // namespace hilbertring
