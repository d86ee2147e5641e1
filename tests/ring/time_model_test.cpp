#include "ring/time_model.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "core/error.h"
#include "tests/ring/random_problem.h"

namespace hilbertring {
namespace {

/// One head, 8 tokens of 32 bytes, dense: a rank of two folds 16 whole pairs of its own and 16 of the other's, whose 4 keys and values are 256 bytes.
Problem small_problem() {
  Problem problem{.shape = {.batch = 1, .tokens = 8, .heads = 1, .kv_heads = 1, .head_dim = 8}, .specification = {}};
  problem.specification.segment_lengths = {8};
  problem.specification.dilation_rates = {1};
  problem.specification.curve = Curve::kIdentity;
  problem.specification.chunk = 4;
  return problem;
}

Rates simple_rates() {
  Rates rates{.type = ElementType::kFloat32, .head_dim = 8};
  rates.forward = {.whole = 16, .cut = 8, .dilated = 4, .seconds_per_fold = 0};
  rates.backward = {.whole = 8, .cut = 4, .dilated = 2, .seconds_per_fold = 0};
  rates.within_node = LinkRates{.bytes_per_second = 256, .seconds_per_message = 0};
  rates.ranks_per_node = 8;
  return rates;
}

PassPrediction predicted(const Problem& problem, std::int64_t num_ranks, const Rates& rates, Pass pass = Pass::kForward) {
  const Schedule schedule(problem, make_orders(problem.specification, problem.shape.tokens), num_ranks);
  const std::optional<PassPrediction> prediction = predict_time(schedule, pass, rates);
  EXPECT_TRUE(prediction.has_value());
  return prediction.value_or(PassPrediction{});
}

TEST(TimeModel, OneRankTakesItsPairsAndItsFolds) {
  Rates rates = simple_rates();
  rates.forward.seconds_per_fold = 0.25;
  rates.within_node.reset();

  const PassPrediction prediction = predicted(small_problem(), 1, rates);

  // 64 pairs at 16 a second; the chunks below the query's are folded before the visits there are none of, the chunk above after them.
  EXPECT_DOUBLE_EQ(prediction.seconds, 4 + 2 * 0.25);
  EXPECT_EQ(prediction.stage_seconds, (std::vector{3.25, 1.25}));
  EXPECT_FALSE(prediction.hidden_share().has_value());
}

TEST(TimeModel, RowsOfAllHeadsCostApartFromTheirPairs) {
  Problem problem = small_problem();
  problem.shape.heads = problem.shape.kv_heads = problem.shape.batch = 2;
  Rates rates = simple_rates();
  const double before = predicted(problem, 2, rates).seconds;
  rates.forward.seconds_per_row = 0.125;

  // 4 tokens a rank.
  EXPECT_DOUBLE_EQ(predicted(problem, 2, rates).seconds, before + 2 * 2 * 4 * 0.125);
}

TEST(TimeModel, TransfersHideBehindLongerComputing) {
  Rates rates = simple_rates();
  rates.within_node->bytes_per_second = 512;

  const PassPrediction prediction = predicted(small_problem(), 2, rates);

  // Stage 0: 1 s of computing, 0.5 s for the operands of step 1; step 1: 1 s; nothing above.
  EXPECT_EQ(prediction.stage_seconds, (std::vector{1.0, 1.0, 0.0}));
  EXPECT_DOUBLE_EQ(prediction.seconds, 2);
  EXPECT_DOUBLE_EQ(prediction.hidden_share().value_or(-1), 1);
}

TEST(TimeModel, LongerTransfersHideComputing) {
  Rates rates = simple_rates();
  rates.within_node->bytes_per_second = 64;
  rates.within_node->seconds_per_message = 0.5;

  const PassPrediction prediction = predicted(small_problem(), 2, rates);

  EXPECT_EQ(prediction.stage_seconds, (std::vector{4.5, 1.0, 0.0}));
  EXPECT_DOUBLE_EQ(prediction.compute_seconds, 2);
  EXPECT_DOUBLE_EQ(prediction.transfer_seconds, 4.5);
  EXPECT_DOUBLE_EQ(prediction.hidden_share().value_or(-1), 1 - 3.5 / 4.5);
}

TEST(TimeModel, WhatDoesNotOverlapAddsUp) {
  Rates rates = simple_rates();
  rates.within_node->bytes_per_second = 512;
  rates.overlap = 0.5;

  EXPECT_DOUBLE_EQ(predicted(small_problem(), 2, rates).seconds, 1 + 0.5 * 0.5 + 1);
}

TEST(TimeModel, AccumulatorsOfOneSliceWaitForTheFoldAndThoseOfTwoDoNot) {
  Problem one = small_problem();
  one.with_gradient = true;
  Problem two = one;
  two.shape.batch = 2;
  Rates rates = simple_rates();
  rates.within_node->bytes_per_second = 1024;
  // q, do, lse, delta: 4 rows of 72 bytes; dq: 4 rows of 32, which come and go home.
  const double operands = 4 * 72 / 1024.0, accumulators = 4 * 32 / 1024.0;

  const PassPrediction in_one = predicted(one, 2, rates, Pass::kBackward);
  const PassPrediction in_two = predicted(two, 2, rates, Pass::kBackward);

  ASSERT_LT(operands, 2);
  EXPECT_EQ(in_one.stage_seconds, (std::vector{2.0, 2 + accumulators, accumulators}));
  EXPECT_EQ(in_two.stage_seconds, (std::vector{4.0, 4.0, 2 * accumulators}));
}

TEST(TimeModel, MessagesBetweenNodesTakeTheirOwnLink) {
  Rates rates = simple_rates();
  rates.between_nodes = LinkRates{.bytes_per_second = 32, .seconds_per_message = 0};

  EXPECT_DOUBLE_EQ(predicted(small_problem(), 2, rates).seconds, 2);
  rates.ranks_per_node = 1;
  EXPECT_DOUBLE_EQ(predicted(small_problem(), 2, rates).seconds, 8 + 1);
}

TEST(TimeModel, StepsThatNobodyNeedsTakeNoTime) {
  Problem problem = small_problem();
  problem.shape.tokens = 16;
  problem.specification.segment_lengths = {4};
  Rates rates = simple_rates();
  rates.forward.seconds_per_fold = 0.25;
  rates.within_node->seconds_per_message = 1;

  const PassPrediction prediction = predicted(problem, 4, rates);

  EXPECT_EQ(prediction.stage_seconds, (std::vector{1.25, 0.0, 0.0, 0.0, 0.0}));
  EXPECT_EQ(prediction.transfer_seconds, 0);
}

TEST(TimeModel, TheSlowestRankIsThePasss) {
  Problem problem = small_problem();
  problem.specification.causal = Causal::kPosition;

  const PassPrediction prediction = predicted(problem, 2, simple_rates());

  EXPECT_EQ(prediction.slowest, Rank(1));
  EXPECT_DOUBLE_EQ(prediction.seconds, 10 / 8.0 + 16 / 16.0);
  EXPECT_DOUBLE_EQ(prediction.pairs_per_rank, (10 + 10 + 16) / 2.0);
}

TEST(TimeModel, FasterMachinesTakeNoLonger) {
  Problem problem = small_problem();
  problem.shape.heads = problem.shape.kv_heads = 4;
  problem.shape.tokens = 96;
  problem.specification.segment_lengths = {96, 96};
  problem.specification.dilation_rates = {1, 4};
  problem.specification.causal = Causal::kPosition;
  problem.with_gradient = true;
  Rates rates = simple_rates();
  rates.overlap = 0.5;
  rates.forward.seconds_per_fold = rates.backward.seconds_per_fold = 0.5;
  rates.within_node->seconds_per_message = 0.5;
  const auto seconds = [&](Pass pass) { return predicted(problem, 3, rates, pass).seconds; };

  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    FoldRates& folds = pass == Pass::kForward ? rates.forward : rates.backward;
    for (double* rate : {&folds.whole, &folds.cut, &folds.dilated, &rates.within_node->bytes_per_second}) {
      const double before = seconds(pass);
      *rate *= 2;
      EXPECT_LT(seconds(pass), before);
    }
    for (double* cost : {&folds.seconds_per_fold, &rates.within_node->seconds_per_message}) {
      const double before = seconds(pass);
      *cost /= 2;
      EXPECT_LT(seconds(pass), before);
    }
  }
  const double before = seconds(Pass::kForward);
  rates.overlap = 1;
  EXPECT_LT(seconds(Pass::kForward), before);
}

TEST(TimeModel, StagesMoveTheBytesThatTheScheduleSendsAndFoldThePatternsPairs) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const auto schedule = make_schedule(random_problem(seed, 5), 1 + static_cast<std::int64_t>(seed % 5));
    const FoldCounter counter(*schedule);
    SCOPED_TRACE(to_json(schedule->problem().specification) + " on " + std::to_string(schedule->num_ranks()));
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      std::int64_t received = 0, folded = 0, allowed = 0;
      for (Rank rank(0); rank < Rank(schedule->num_ranks()); ++rank) {
        std::int64_t sent = 0;
        for (const Stage& stage : stages_of(*schedule, counter, pass, rank)) {
          sent += stage.operands.sent_bytes + stage.accumulators.sent_bytes;
          received += stage.operands.received_bytes + stage.accumulators.received_bytes;
          folded += stage.pairs.total();
        }
        EXPECT_EQ(sent, schedule->sent_bytes(pass, rank));
        allowed += counter.whole_pass(rank).total();
      }
      EXPECT_EQ(received, schedule->total_bytes(pass));
      EXPECT_EQ(folded, allowed);
    }
  }
}

TEST(TimeModel, RatesOutOfRangeAreNamed) {
  const auto complaint = [](auto&& spoil) {
    Rates rates = simple_rates();
    spoil(rates);
    const std::optional<Error> error = error_of([&] { rates.validate(); });
    return error ? error->message() : "";
  };

  EXPECT_EQ(complaint([](Rates&) {}), "");
  EXPECT_EQ(complaint([](Rates& rates) { rates.backward.cut = 0; }), "backward.pairs_per_second.cut is 0, but must be 1 to 1e+18");
  EXPECT_EQ(complaint([](Rates& rates) { rates.forward.whole = std::numeric_limits<double>::quiet_NaN(); }),
            "forward.pairs_per_second.whole is nan, but must be 1 to 1e+18");
  EXPECT_EQ(complaint([](Rates& rates) { rates.overlap = 1.5; }), "overlap is 1.5, but must be 0 to 1");
  EXPECT_EQ(complaint([](Rates& rates) { rates.within_node->bytes_per_second = -1; }),
            "links.within_node.bytes_per_second is -1, but must be 1 to 1e+18");
}

TEST(TimeModel, MessagesWithoutALinkAreRefused) {
  Rates rates = simple_rates();
  rates.within_node.reset();
  const Problem problem = small_problem();
  const Schedule schedule(problem, make_orders(problem.specification, 8), 2);

  const std::optional<Error> error = error_of([&] { predict_time(schedule, Pass::kForward, rates); });

  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->kind(), ErrorKind::kUsage);
}

}  // namespace
}  // namespace hilbertring
