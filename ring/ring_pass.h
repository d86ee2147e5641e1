#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "ring/visit_buffers.h"

namespace hilbertring {

/// Tensors of a shard by the part they play on the journey. `rows` of a tensor are the shard's rows.
struct Travellers {
  Bundle operands;      ///< read only on the way: k, v, or q, do (and lse, delta)
  Bundle accumulators;  ///< added to on the way: none (forward), dk, dv, or dq
};

/// One visit: rows of another rank that are here to be folded.
struct Visit {
  Rank owner;
  Travellers rows;
};

/// Moves the rows of every rank through the ranks that need them, in the order of the fold law, and folds them there. Collective: one pass, all
/// ranks.
///
/// A rank's operands go straight from their owner to each visited rank, as early as there is room. Accumulators leave home after the owner has folded
/// its own part, go from neighbour to neighbour, and come home when the next rank does not need them (or after the last). While a visit is computed
/// the operands of the next arrive. Nothing waits without moving whatever can be moved (`pump`), so that no order of events can block the ring.
class RingPass {
 public:
  /// `own` are this rank's tensors of the travelling side; `shape_like(own tensor, rows)` views of visitors are made alike.
  RingPass(const Schedule& schedule, Pass pass, Transport& transport, Travellers own, VisitBuffers& buffers, int num_threads);

  /// Calls fold for each visit, in order, and returns when all own rows are home and all buffers are free.
  void run(const std::function<void(const Visit&)>& fold);
  /// Calls fold for each visit on whatever the buffers hold and moves nothing: what a pass costs without its transfers.
  void run_without_moving(const std::function<void(const Visit&)>& fold);
  /// Moves on whatever can be moved, without blocking: to be called now and then while computing.
  void pump();

  double waiting_seconds() const { return waiting_seconds_; }

 private:
  struct Guest {  ///< a visit, from the posting of its receive to its departure
    std::int64_t step;
    std::size_t slot;
    Visit visit;
    RowSelection rows;
  };
  struct Upcoming {  ///< own rows elsewhere: the next step whose message has not been posted yet
    std::int64_t step;
    RowSelection rows;
  };

  RowSelection rows_visiting(Rank owner, std::int64_t step) const;
  RowSelection rows_leaving_home(std::int64_t step) const;
  RowSelection rows_coming_home(std::int64_t step) const;
  std::optional<Guest> next_guest(std::int64_t after_step, std::size_t slot);
  Bundle views_like(const Bundle& own, const Buffer& buffer, Rank owner) const;
  void receive_operands(const Guest& guest);
  void receive_accumulators(const Guest& guest);
  void send_accumulators_on(const Guest& guest);
  void pump_operands();
  void pump_departures();
  void pump_homecomings();
  bool is_past(const Upcoming& upcoming) const { return upcoming.step >= schedule_.num_ranks(); }
  bool is_all_done();
  template <class Condition>
  void wait_until(Condition&& condition);

  const Schedule& schedule_;
  Transport& transport_;
  Travellers own_;
  VisitBuffers& buffers_;
  int num_threads_;
  Rotation rotation_;
  Side side_;
  Rank rank_;
  Upcoming operands_, departure_, homecoming_;
  RowSelection away_;  ///< rows whose accumulators are not at home
  double waiting_seconds_ = 0;
};

}  // namespace hilbertring
