#include "ring/ring_pass.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>

#include "core/cpu/cpu_device.h"
#include "ring/loopback.h"
#include "tests/ring/random_problem.h"

namespace hilbertring {
namespace {

/// A pass over rows of int64: operands are the row's own global index, accumulators a trace of the ranks visited.
class TracedPass {
 public:
  TracedPass(const Schedule& schedule, Pass pass, Transport& transport)
      : schedule_(schedule), transport_(transport), side_(schedule.rotation(pass) == Rotation::kKvUp ? Side::kKeys : Side::kQueries) {
    const Shape& shape = schedule.problem().shape;
    heads_ = side_ == Side::kKeys ? shape.kv_heads : shape.heads;
    operands_ = tensor(operand_memory_, operand_columns(pass));
    accumulators_ = tensor(accumulator_memory_, accumulator_columns(pass));
    for (std::int64_t i = 0; i < num_rows(operands_); ++i) {
      for (std::int64_t c = 0; c < operands_.columns; ++c) entry(operands_, i, c) = global_index(transport.rank(), i);
    }
    accumulator_memory_.fill_zero();

    const std::unique_ptr<ComputeDevice> device = make_cpu_device(1);
    const Mailroom mailroom{.transport = transport, .device = *device};
    std::vector<VisitBuffers> buffers;
    buffers.emplace_back(visit_buffer_sizes(schedule, transport.rank(), mailroom.path()), mailroom, RankMeters{});
    for (const Buffer& buffer : buffers.front().operands) std::ranges::fill(buffer.bytes(), std::byte{0xEE});
    Travellers own{{operands_}, {}};
    if (pass == Pass::kBackward) own.accumulators = {accumulators_};
    RingPass ring(schedule, pass, schedule.leg({}), own, buffers, 0);
    RingPass::start({&ring, 1});
    ring.leave_home();
    for (std::int64_t step = 1; step < schedule.num_ranks(); ++step) ring.step(step, [&](const Visit& visit) { check_visit(visit); });
    ring.come_home();
  }

  /// Each own row's trace is the sequence of ranks that need it, in ring order.
  void expect_lawful_traces(Rotation rotation) {
    std::vector<std::int64_t> expected(static_cast<std::size_t>(num_rows(accumulators_)), 0);
    for (std::int64_t step = 1; step < schedule_.num_ranks(); ++step) {
      const Rank visitor = schedule_.visited_by(rotation, transport_.rank(), step);
      for_each_row(RowSelection::needed(schedule_, side_, transport_.rank(), visitor), accumulators_,
                   [&](std::int64_t i) { expected[static_cast<std::size_t>(i)] = traced(expected[static_cast<std::size_t>(i)], visitor); });
    }
    for (std::int64_t i = 0; i < num_rows(accumulators_); ++i) ASSERT_EQ(entry(accumulators_, i, 0), expected[static_cast<std::size_t>(i)]);
  }

 private:
  // Sizes that match what the schedule predicts for the pass.
  std::int64_t operand_columns(Pass pass) const { return operand_row_bytes(schedule_.problem(), pass, schedule_.rotation(pass)) / 8; }
  std::int64_t accumulator_columns(Pass pass) const { return accumulator_row_bytes(schedule_.problem(), schedule_.rotation(pass)) / 8; }

  Tensor tensor(Buffer& memory, std::int64_t columns) {
    Tensor view{nullptr, ElementType::kFloat64, schedule_.problem().shape.batch, heads_, schedule_.placement().num_rows(transport_.rank()), columns};
    memory = Buffer(view.size_bytes(), nullptr);
    view.data = memory.data();
    return view;
  }
  static std::int64_t num_rows(const Tensor& t) { return t.batch * t.heads * t.rows; }
  static std::int64_t& entry(const Tensor& t, std::int64_t row, std::int64_t column) {
    return reinterpret_cast<std::int64_t*>(t.data)[row * t.columns + column];
  }
  std::int64_t global_index(Rank owner, std::int64_t row) const { return owner.value * 1'000'000 + row; }
  static std::int64_t traced(std::int64_t trace, Rank visitor) { return trace * 17 + visitor.value + 1; }

  template <class F>
  static void for_each_row(const RowSelection& rows, const Tensor& like, F&& f) {
    for (std::int64_t b = 0; b < like.batch; ++b) {
      for (std::int64_t h = 0; h < like.heads; ++h) {
        rows.for_each_run(h, [&](LocalRow first, std::int64_t n) {
          for (std::int64_t i = 0; i < n; ++i) f((b * like.heads + h) * like.rows + first.value + i);
        });
      }
    }
  }

  void check_visit(const Visit& visit) {
    const RowSelection needed = RowSelection::needed(schedule_, side_, visit.owner, transport_.rank());
    const Tensor& operands = visit.rows.operands.front();
    for_each_row(needed, operands, [&](std::int64_t i) {
      for (std::int64_t c = 0; c < operands.columns; ++c) ASSERT_EQ(entry(operands, i, c), global_index(visit.owner, i));
      if (visit.rows.accumulators.empty()) return;
      std::int64_t& trace = entry(visit.rows.accumulators.front(), i, 0);
      trace = traced(trace, transport_.rank());
    });
  }

  const Schedule& schedule_;
  Transport& transport_;
  Side side_;
  std::int64_t heads_;
  Buffer operand_memory_, accumulator_memory_;
  Tensor operands_, accumulators_;
};

TEST(RingPass, BringsEachRowWhereItIsNeededAndItsAccumulatorsInRingOrder) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const std::int64_t ranks = 1 + static_cast<std::int64_t>(seed % 9);
    Problem problem = random_problem(seed, ranks);
    const auto schedule = make_schedule(problem, ranks);
    SCOPED_TRACE("seed " + std::to_string(seed) + ", " + std::to_string(ranks) + " ranks");

    run_loopback(ranks, [&](Transport& transport) {
      TracedPass(*schedule, Pass::kForward, transport);
      const std::int64_t sent_before = transport.sent_bytes();
      TracedPass backward(*schedule, Pass::kBackward, transport);
      backward.expect_lawful_traces(schedule->rotation(Pass::kBackward));
      EXPECT_EQ(transport.sent_bytes() - sent_before, schedule->sent_bytes(Pass::kBackward, transport.rank()));
    });
  }
}

}  // namespace
}  // namespace hilbertring
