// A pass cut into legs, each by a job of its own on another number of ranks, which is handed the inputs and the last one's state.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "ring/loopback.h"
#include "tests/ring/attention_job.h"

namespace hilbertring {
namespace {

class Legs : public testing::Test {
 protected:
  void SetUp() override {
    if (!backend_under_test().missing.empty()) GTEST_SKIP() << backend_under_test().missing;
  }
};

WholeResult uninterrupted(const Problem& problem, std::uint64_t seed) {
  WholeResult result;
  std::mutex mutex;
  run_loopback(1, [&](Transport& transport) { run_rank(transport, make_schedule(problem, 1), seed, 1, result, mutex); });
  return result;
}

struct Place {
  Pass pass = Pass::kForward;
  std::int64_t lag = 0;
};

std::vector<ShardTensor> state_at(const Place& place) {
  if (place.pass == Pass::kForward) return {ShardTensor::kRowMax, ShardTensor::kRowSum, ShardTensor::kO};
  return {ShardTensor::kRowMax, ShardTensor::kO, ShardTensor::kDq, ShardTensor::kDk, ShardTensor::kDv};
}

RingOptions options_in_legs(Rank rank, ElementType real) {
  RingOptions options = backend_under_test().options(rank, 1, real);
  options.in_legs = true;
  return options;
}

ElementType type_of(const Problem& problem, ShardTensor t) { return t == ShardTensor::kLse ? ElementType::kFloat32 : arithmetic_type(problem.type); }

/// One rank of a job that folds one leg and hands its state on.
void fold_leg(Transport& transport, const std::shared_ptr<const Schedule>& schedule, std::uint64_t seed, const Place& place, std::int64_t end,
              const WholeResult& before, WholeResult& after, std::mutex& mutex) {
  const Problem& problem = schedule->problem();
  const Range<SequenceIndex> tokens = sequence_slab(problem.shape.tokens, transport.num_ranks(), transport.rank());
  RingAttention attention(transport, schedule, options_in_legs(transport.rank(), arithmetic_type(problem.type)));
  load_inputs(attention, problem, seed, tokens, InputSource::kLoaded);
  const bool is_begun = place.lag > 0 || place.pass == Pass::kBackward;
  if (is_begun) {
    for (const auto& [t, whole] : before.tensors) attention.load(t, take_slab(problem, t, tokens, whole));
    attention.resume_at(place.pass, place.lag);
  }
  const PassReport report = attention.fold(place.pass, {place.lag, end});
  if (report.sent_bytes != report.predicted_bytes) throw std::runtime_error("sent bytes differ from the prediction");

  const bool is_over = end >= attention.num_lags();
  std::vector<ShardTensor> outputs = state_at(place);
  if (is_over && place.pass == Pass::kForward) outputs = {ShardTensor::kRowMax, ShardTensor::kO, ShardTensor::kLse};
  if (is_over && place.pass == Pass::kBackward) outputs.push_back(ShardTensor::kLse);
  for (const ShardTensor t : outputs) {
    std::vector<std::byte> slab = empty_slab(problem, t, tokens);
    attention.store(t, type_of(problem, t), slab);
    const std::lock_guard lock(mutex);
    place_slab(problem, t, tokens, slab, after.tensors[t]);
  }
  // A leg need not do all that the prediction is for.
  if (attention.memory().peak_bytes() > attention.predicted_memory().host.peak_bytes() ||
      attention.gpu_memory().peak_bytes() > attention.predicted_memory().gpu.peak_bytes()) {
    throw std::runtime_error("more memory than predicted");
  }
}

/// Both passes in legs of random widths over random numbers of ranks.
WholeResult in_legs(const Problem& problem, std::uint64_t seed, std::int64_t max_ranks) {
  Draw draw(seed);
  WholeResult state;
  const std::int64_t num_lags = make_schedule(problem, 1)->num_lags();
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    for (Place place{pass, 0}; place.lag < num_lags;) {
      const std::int64_t end = place.lag + draw.between(1, num_lags);
      const std::int64_t ranks = draw.between(1, max_ranks);
      const auto schedule = make_schedule(problem, ranks);
      WholeResult after;
      std::mutex mutex;
      // Between the passes the forward pass's results stand for the state of a backward pass without gradients yet.
      if (pass == Pass::kBackward && place.lag == 0) state.tensors.erase(ShardTensor::kLse);
      run_loopback(ranks, [&](Transport& transport) { fold_leg(transport, schedule, seed, place, end, state, after, mutex); });
      state = std::move(after);
      place.lag = end;
    }
  }
  for (const ShardTensor t : {ShardTensor::kRowMax, ShardTensor::kRowSum}) state.tensors.erase(t);
  return state;
}

TEST_F(Legs, GiveTheBitsOfTheUninterruptedRunWhereverCutOnAnyNumberOfRanks) {
  for (std::uint64_t seed = 5000; seed < 5060; ++seed) {
    Problem problem = random_problem(seed, 5);
    problem.type = static_cast<ElementType>(seed % 4);
    SCOPED_TRACE(describe(seed, problem));

    const WholeResult result = in_legs(problem, seed, 5);

    ASSERT_TRUE(result == uninterrupted(problem, seed));
  }
}

TEST_F(Legs, AreRefusedOutOfTurn) {
  const Problem problem = random_problem(5000, 5);
  run_loopback(1, [&](Transport& transport) {
    RingAttention attention(transport, make_schedule(problem, 1), options_in_legs(transport.rank(), arithmetic_type(problem.type)));
    load_inputs(attention, problem, 1, {SequenceIndex(0), SequenceIndex(problem.shape.tokens)}, InputSource::kLoaded);
    attention.fold(Pass::kForward, {0, 2});

    EXPECT_THROW(attention.fold(Pass::kForward, {3, 4}), Error);
    EXPECT_THROW(attention.fold(Pass::kBackward, {0, 1}), Error);
    EXPECT_THROW(attention.backward(), Error);
    EXPECT_NO_THROW(attention.fold(Pass::kForward, {2, 3}));
  });
}

}  // namespace
}  // namespace hilbertring
