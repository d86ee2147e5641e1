#include "ring/schedule.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "ring/row_selection.h"
#include "tests/ring/random_problem.h"

namespace hilbertring {
namespace {

constexpr std::uint64_t kNumDraws = 150;

std::int64_t time_of(const Schedule& schedule, bool is_query, Position p) {
  const Orders& orders = schedule.orders();
  return schedule.pattern().causal() == Causal::kPosition ? p.value : (is_query ? orders.queries : orders.keys)->sequence_index(p).value;
}

/// Element by element, whether any head's query attends to the key.
bool is_allowed(const Schedule& schedule, std::int64_t head, Position query, Position key) {
  const Pattern& pattern = schedule.pattern();
  if (pattern.is_causal() && !Pattern::causality_allows(time_of(schedule, true, query), time_of(schedule, false, key))) return false;
  for (std::int64_t b = 0; b < pattern.num_branches(); ++b) {
    if (pattern.branch(b).has_head(head) && pattern.branch(b).allows(head, query, key)) return true;
  }
  return false;
}

using ChunkPairKey = std::pair<std::int64_t, std::int64_t>;  ///< first positions of query chunk and key chunk

/// All pairs of the job in the order in which each rank folds them: (query chunk, key chunk), rank by rank.
std::vector<std::vector<ChunkPairKey>> folded_pairs(const Schedule& schedule, Pass pass) {
  std::vector<std::vector<ChunkPairKey>> by_rank;
  const Rotation rotation = schedule.rotation(pass);
  for (Rank k(0); k.value < schedule.num_ranks(); ++k) {
    auto& pairs = by_rank.emplace_back();
    const auto append = [&](const std::vector<ChunkPair>& some) {
      for (const ChunkPair& pair : some) pairs.emplace_back(pair.queries.positions.begin.value, pair.keys.positions.begin.value);
    };
    append(schedule.own_pairs_below(k));
    for (std::int64_t step = 1; step < schedule.num_ranks(); ++step)
      append(schedule.visit_pairs(rotation, k, schedule.owner_visiting(rotation, k, step)));
    append(schedule.own_pairs_above(k));
  }
  return by_rank;
}

/// The order of SPEC.md section 5 for the key chunks that one query chunk folds: units u, u-1, ..., 0, U-1, ..., u+1, chunks ascending.
std::vector<std::int64_t> lawful_keys(const ChunkPlacement& placement, Unit query_unit, std::int64_t num_units) {
  std::vector<std::int64_t> keys;
  for (std::int64_t d = 0; d < num_units; ++d) {
    for (const Chunk c : placement.chunks(Unit((query_unit.value - d + num_units) % num_units))) keys.push_back(placement.positions(c).begin.value);
  }
  return keys;
}

TEST(Schedule, EveryQueryChunkFoldsItsKeysInTheLawfulOrder) {
  for (std::uint64_t seed = 0; seed < kNumDraws; ++seed) {
    const std::int64_t ranks = 1 + static_cast<std::int64_t>(seed % 7);
    const auto schedule = make_schedule(random_problem(seed, ranks), ranks);
    const ChunkPlacement& placement = schedule->placement();

    std::map<std::int64_t, std::vector<std::int64_t>> folded;
    for (const auto& pairs : folded_pairs(*schedule, Pass::kForward)) {
      for (const auto& [query, key] : pairs) folded[query].push_back(key);
    }

    for (Unit u(0); u.value < placement.num_units(); ++u) {
      for (const Chunk c : placement.chunks(u)) {
        std::vector<std::int64_t> expected = lawful_keys(placement, u, placement.num_units());
        const std::vector<std::int64_t>& actual = folded[placement.positions(c).begin.value];
        std::erase_if(expected, [&](std::int64_t key) { return std::find(actual.begin(), actual.end(), key) == actual.end(); });
        ASSERT_EQ(actual, expected) << "seed " << seed << ", unit " << u.value;
      }
    }
  }
}

TEST(Schedule, EveryAllowedPairIsFoldedExactlyOnceInBothPasses) {
  for (std::uint64_t seed = 0; seed < kNumDraws; ++seed) {
    const std::int64_t ranks = 1 + static_cast<std::int64_t>(seed % 5);
    const auto schedule = make_schedule(random_problem(seed, ranks), ranks);
    const ChunkPlacement& placement = schedule->placement();
    const std::int64_t chunk = placement.positions(Chunk(0)).size();

    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      std::multiset<ChunkPairKey> folded;
      for (const auto& pairs : folded_pairs(*schedule, pass)) folded.insert(pairs.begin(), pairs.end());
      for (const ChunkPairKey& pair : folded) ASSERT_EQ(folded.count(pair), 1U) << "seed " << seed;
      for (Position q(0); q.value < placement.num_tokens(); ++q) {
        for (Position k(0); k.value < placement.num_tokens(); ++k) {
          const bool is_folded = folded.contains({q.value / chunk * chunk, k.value / chunk * chunk});
          ASSERT_TRUE(is_folded || !is_allowed(*schedule, 0, q, k)) << "seed " << seed;
        }
      }
    }
  }
}

TEST(Schedule, LegsHoldEveryPairOfThePassOnceAndOnlyInTheirSteps) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const std::int64_t ranks = 1 + static_cast<std::int64_t>(seed % 5);
    const auto schedule = make_schedule(random_problem(seed, ranks), ranks);
    Draw draw(seed);
    const auto key = [](const ChunkPair& pair) { return std::pair(pair.queries.positions.begin.value, pair.keys.positions.begin.value); };
    for (const Rotation rotation : {Rotation::kKvUp, Rotation::kQueryDown}) {
      std::set<std::pair<std::int64_t, std::int64_t>> whole, in_legs;
      std::size_t num_whole = 0, num_in_legs = 0;
      const auto note = [&](const std::vector<ChunkPair>& pairs, auto& seen, std::size_t& count) {
        for (const ChunkPair& pair : pairs) seen.insert(key(pair));
        count += pairs.size();
      };
      const auto note_leg = [&](const Leg& leg, auto& seen, std::size_t& count) {
        for (Rank k(0); k < Rank(ranks); ++k) {
          note(schedule->own_pairs_below(k, leg.lags), seen, count);
          note(schedule->own_pairs_above(k, leg.lags), seen, count);
          for (std::int64_t step = leg.first_step; step < leg.end_step; ++step) {
            note(schedule->visit_pairs(rotation, k, schedule->owner_visiting(rotation, k, step), leg.lags), seen, count);
          }
        }
      };
      note_leg(schedule->leg({}), whole, num_whole);
      for (std::int64_t lag = 0; lag < schedule->num_lags();) {
        const std::int64_t end = lag + draw.between(1, schedule->num_lags());
        note_leg(schedule->leg({lag, end}), in_legs, num_in_legs);
        lag = end;
      }

      EXPECT_EQ(in_legs, whole) << "seed " << seed;
      EXPECT_EQ(num_in_legs, num_whole) << "seed " << seed;
    }
  }
}

TEST(Schedule, BackwardFoldsQueriesOfAKeyChunkFromItsOwnUnitUpwards) {
  for (std::uint64_t seed = 0; seed < kNumDraws; ++seed) {
    const std::int64_t ranks = 1 + static_cast<std::int64_t>(seed % 7);
    const auto schedule = make_schedule(random_problem(seed, ranks), ranks);
    const ChunkPlacement& placement = schedule->placement();
    const std::int64_t num_units = placement.num_units();
    // Keys that stay at home meet the travelling queries, or travel and meet the queries of each rank in turn.
    std::map<std::int64_t, std::vector<std::int64_t>> units_met;
    const auto unit_of = [&](std::int64_t position) {
      const std::int64_t c = position / placement.positions(Chunk(0)).size();
      return schedule->problem().specification.placement == Placement::kZigzag ? std::min(c, placement.num_chunks() - 1 - c) : c;
    };

    const Rotation rotation = schedule->rotation(Pass::kBackward);
    for (Rank home(0); home.value < ranks; ++home) {
      const auto append = [&](const std::vector<ChunkPair>& pairs) {
        for (const ChunkPair& pair : pairs) units_met[pair.keys.positions.begin.value].push_back(unit_of(pair.queries.positions.begin.value));
      };
      append(schedule->own_pairs_below(home));
      for (std::int64_t step = 1; step < ranks; ++step) {
        const Rank other((home.value + step) % ranks);
        append(rotation == Rotation::kKvUp ? schedule->visit_pairs(rotation, other, home) : schedule->visit_pairs(rotation, home, other));
      }
      append(schedule->own_pairs_above(home));
    }

    for (const auto& [key, units] : units_met) {
      const std::int64_t own = unit_of(key);
      std::int64_t last = 0;
      for (const std::int64_t unit : units) {
        const std::int64_t distance = (unit - own + num_units) % num_units;
        ASSERT_GE(distance, last) << "seed " << seed << ", key chunk at " << key;
        last = distance;
      }
    }
  }
}

TEST(Schedule, RowsTravelExactlyWhereSomeoneMayNeedThem) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const std::int64_t ranks = 2 + static_cast<std::int64_t>(seed % 4);
    const auto schedule = make_schedule(random_problem(seed, ranks), ranks);
    const ChunkPlacement& placement = schedule->placement();
    const Shape& shape = schedule->problem().shape;

    for (Rank owner(0); owner.value < ranks; ++owner) {
      for (Rank visitor(0); visitor.value < ranks; ++visitor) {
        if (owner == visitor) continue;
        const RowSelection keys = RowSelection::needed(*schedule, Side::kKeys, owner, visitor);
        const RowSelection queries = RowSelection::needed(*schedule, Side::kQueries, owner, visitor);
        for (std::int64_t head = 0; head < shape.heads; ++head) {
          std::set<std::int64_t> key_rows, query_rows;
          keys.for_each_run(head / shape.heads_per_kv_head(), [&](LocalRow first, std::int64_t n) {
            for (std::int64_t i = 0; i < n; ++i) key_rows.insert(first.value + i);
          });
          queries.for_each_run(head, [&](LocalRow first, std::int64_t n) {
            for (std::int64_t i = 0; i < n; ++i) query_rows.insert(first.value + i);
          });
          std::int64_t row = 0;
          for (const Range<Position>& span : placement.spans(owner)) {
            for (Position p = span.begin; p < span.end; ++p, ++row) {
              for (const Range<Position>& other_span : placement.spans(visitor)) {
                for (Position other = other_span.begin; other < other_span.end; ++other) {
                  ASSERT_TRUE(key_rows.contains(row) || !is_allowed(*schedule, head, other, p)) << "seed " << seed;
                  ASSERT_TRUE(query_rows.contains(row) || !is_allowed(*schedule, head, p, other)) << "seed " << seed;
                }
              }
            }
          }
        }
      }
    }
  }
}

TEST(Schedule, CountedRowsAreTheRowsOfTheMessages) {
  for (std::uint64_t seed = 0; seed < kNumDraws; ++seed) {
    const std::int64_t ranks = 2 + static_cast<std::int64_t>(seed % 6);
    const auto schedule = make_schedule(random_problem(seed, ranks), ranks);
    for (const Rotation rotation : {Rotation::kKvUp, Rotation::kQueryDown}) {
      const Side side = rotation == Rotation::kKvUp ? Side::kKeys : Side::kQueries;
      for (Rank visitor(0); visitor.value < ranks; ++visitor) {
        for (std::int64_t step = 1; step < ranks; ++step) {
          const Rank owner = schedule->owner_visiting(rotation, visitor, step);
          RowSelection here = RowSelection::needed(*schedule, side, owner, visitor);

          const VisitRows counted = schedule->visit_rows(rotation, visitor, step);

          ASSERT_EQ(counted.rows, here.num_rows()) << "seed " << seed;
          if (step + 1 < ranks) {
            here &= RowSelection::needed(*schedule, side, owner, schedule->visited_by(rotation, owner, step + 1));
            ASSERT_EQ(counted.to_neighbour, here.num_rows()) << "seed " << seed;
          }
        }
      }
    }
  }
}

TEST(Schedule, WhatRanksSendIsWhatRanksReceive) {
  for (std::uint64_t seed = 0; seed < kNumDraws; ++seed) {
    const std::int64_t ranks = 1 + static_cast<std::int64_t>(seed % 7);
    const auto schedule = make_schedule(random_problem(seed, ranks), ranks);
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      std::int64_t sent = 0, received = 0;

      for (Rank k(0); k.value < ranks; ++k) {
        sent += schedule->sent_bytes(pass, k);
        for (std::int64_t step = 1; step < ranks; ++step) received += schedule->traffic(pass, k, step).total();
      }

      ASSERT_EQ(sent, received) << "seed " << seed;
      ASSERT_EQ(sent, schedule->total_bytes(pass)) << "seed " << seed;
    }
  }
}

Problem dense_problem(std::int64_t tokens, std::int64_t chunk, Causal causal) {
  Problem problem;
  problem.shape = {.batch = 1, .tokens = tokens, .heads = 2, .kv_heads = 2, .head_dim = 8};
  problem.specification.segment_lengths = {tokens};
  problem.specification.dilation_rates = {1};
  problem.specification.causal = causal;
  problem.specification.chunk = chunk;
  return problem;
}

TEST(Schedule, SlicesTogetherSendWhatTheWholeSends) {
  std::int64_t num_cut = 0;
  for (std::uint64_t seed = 0; seed < kNumDraws; ++seed) {
    const std::int64_t ranks = 1 + static_cast<std::int64_t>(seed % 6);
    const auto schedule = make_schedule(random_problem(seed, ranks), ranks);
    SCOPED_TRACE("seed " + std::to_string(seed));

    num_cut += schedule->num_slices() > 1 ? 1 : 0;
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      for (Rank rank(0); rank < Rank(ranks); ++rank) {
        std::int64_t sent = 0;
        for (std::int64_t i = 0; i < schedule->num_slices(); ++i) sent += schedule->slice(i).sent_bytes(pass, rank);
        ASSERT_EQ(sent, schedule->sent_bytes(pass, rank));
      }
    }
  }
  EXPECT_GT(num_cut, 0);
}

TEST(Slice, HeadsOfASliceSeeWhatTheySeeInTheWhole) {
  const Shape whole{.batch = 1, .tokens = 48, .heads = 6, .kv_heads = 3, .head_dim = 8};
  Specification specification;
  specification.segment_lengths = {16, 48};
  specification.dilation_rates = {1, 3};
  specification.offset = Offset::kHeadMod;
  const Pattern pattern(specification, whole);
  std::int64_t head = 0;

  for (const Slice& slice : cut_in_two(whole)) {
    const Shape shape = slice.shape_in(whole);
    const Pattern part(specification, whole, shape, head);
    for (std::int64_t h = 0; h < shape.heads; ++h, ++head) {
      for (std::int64_t branch = 0; branch < pattern.num_branches(); ++branch) {
        for (Position query(0); query < Position(48); ++query) {
          for (Position key(0); key < Position(48); ++key) {
            ASSERT_EQ(part.branch(branch).allows(h, query, key), pattern.branch(branch).allows(head, query, key));
          }
        }
      }
    }
  }

  EXPECT_EQ(head, whole.heads);
}

TEST(Schedule, DenseSendsWhatADenseRingSends) {
  const auto schedule = make_schedule(dense_problem(64, 8, Causal::kNone), 4);

  EXPECT_EQ(schedule->total_bytes(Pass::kForward), schedule->dense_ring_bytes(Pass::kForward));
  EXPECT_EQ(schedule->dense_ring_bytes(Pass::kForward), 3 * 64 * 2 * 2 * 8 * 4);
}

TEST(Schedule, CausalStepsThatNobodyNeedsAreSkipped) {
  const auto schedule = make_schedule(dense_problem(64, 16, Causal::kPosition), 4);

  EXPECT_EQ(schedule->visit_rows(Rotation::kKvUp, Rank(0), 1).rows, 0);
  EXPECT_EQ(schedule->visit_rows(Rotation::kKvUp, Rank(3), 3).rows, 2 * 16);
  EXPECT_EQ(schedule->total_bytes(Pass::kForward) * 2, schedule->dense_ring_bytes(Pass::kForward));
}

TEST(Schedule, LocalSegmentsCostNoTraffic) {
  Problem problem = dense_problem(64, 8, Causal::kNone);
  problem.with_gradient = true;
  problem.specification.segment_lengths = {16};

  const auto schedule = make_schedule(problem, 4);

  EXPECT_EQ(schedule->total_bytes(Pass::kForward), 0);
  EXPECT_EQ(schedule->total_bytes(Pass::kBackward), 0);
}

TEST(Schedule, DilatedBranchSendsOnlyItsRows) {
  Problem problem = dense_problem(64, 8, Causal::kNone);
  problem.specification.dilation_rates = {4};

  const auto schedule = make_schedule(problem, 4);

  EXPECT_EQ(schedule->total_bytes(Pass::kForward) * 4, schedule->dense_ring_bytes(Pass::kForward));
}

TEST(Schedule, FewKvHeadsTurnKeysAndEqualHeadsTurnQueries) {
  Problem problem = dense_problem(64, 8, Causal::kNone);
  problem.with_gradient = true;
  EXPECT_EQ(make_schedule(problem, 4)->rotation(Pass::kBackward), Rotation::kQueryDown);

  problem.shape.heads = 8;
  problem.shape.kv_heads = 1;
  EXPECT_EQ(make_schedule(problem, 4)->rotation(Pass::kBackward), Rotation::kKvUp);
}

TEST(Schedule, RotationThatIsAskedForIsTaken) {
  Problem problem = dense_problem(64, 8, Causal::kNone);
  problem.with_gradient = true;
  for (const Rotation rotation : {Rotation::kKvUp, Rotation::kQueryDown}) {
    problem.backward_rotation = rotation;

    EXPECT_EQ(make_schedule(problem, 4)->rotation(Pass::kBackward), rotation);
  }
}

TEST(CountDistinct, EqualsCountingOneByOne) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    Draw draw(seed);
    RowSet runs;
    std::set<std::int64_t> positions;
    for (std::int64_t n = draw.between(0, 6); n > 0; --n) {
      const hilbertring::Run run{Position(draw.between(0, 60)), draw.between(1, 9), draw.between(1, 20)};
      runs.push_back(run);
      for (std::int64_t i = 0; i < run.count; ++i) positions.insert(run[i].value);
    }

    ASSERT_EQ(count_distinct(runs), static_cast<std::int64_t>(positions.size())) << "seed " << seed;
  }
}

}  // namespace
}  // namespace hilbertring
