#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
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
/// A rank's operands go straight from their owner to each visited rank. Accumulators leave home after the owner has folded its own part, go from
/// neighbour to neighbour, and come home when the next rank does not need them (or after the last). All ranks go through the same messages in the
/// same order, so nothing can block the ring:
///
///   operands of step 1 | accumulators 0 -> 1, operands of step 2 | accumulators 1 -> 2, operands of step 3 | ... | accumulators P-1 -> P
///                                           fold step 1                               fold step 2
///
/// where "accumulators s-1 -> s" are all that change ranks between the folds of step s-1 and step s, and "operands of step s+1" arrive during step s.
/// Each of these is a group of the device link, if there is one: then the host hands everything to the device and waits for nothing.
class RingPass {
 public:
  /// Everything handed to the compute queue before makes the operands ready. `own` are this rank's tensors of the travelling side, as far as
  /// `schedule`, which may be a slice, goes; views of visitors are made alike. `buffers`: those of each slice of the pass; this one's are
  /// `buffers[slice]`. Slices go through the ring at the same time, and each looks after the messages of all while it waits.
  /// Of the pass, the steps of `leg`.
  RingPass(const Schedule& schedule, Pass pass, const Leg& leg, Travellers own, std::span<VisitBuffers> buffers, std::size_t slice);

  /// Sends the operands of the first step of all slices, as one group: persistent kernels leave a GPU's messages room only where one ends and the
  /// next begins, and each group needs such a gap.
  static void start(std::span<RingPass> slices);
  /// After start(), when all that the rank folds on its own rows before the visits has been handed to the compute queue.
  void leave_home();
  /// Steps of the leg, in order, after leave_home(): calls fold if there is a visit.
  void step(std::int64_t step, const std::function<void(const Visit&)>& fold);
  /// After the last step. Returns when all messages have been sent and received; the last may still be being unpacked by the device, before anything
  /// that is handed to its compute queue later.
  void come_home();
  /// Fills the buffers with random numbers, as if visitors had come. Blocks until it is done.
  void fill_visitors();
  /// Calls fold for each visit on what lies in the buffers and moves nothing: what a pass costs without its transfers. Instead of all these.
  void run_without_moving(const std::function<void(const Visit&)>& fold);
  /// Moves on whatever can be moved, without blocking: to be called now and then while computing.
  void pump();

  /// How long whoever computes waited for messages: the host's thread, or a GPU, which must have done its work.
  double waiting_seconds() const { return device_.is_host() ? waiting_seconds_ : stalls_->seconds(); }
  /// How long whoever computes took for the steps with a visit, from the end of its work before to the end of the fold; and how many there were.
  double step_seconds() const { return steps_->seconds(); }
  std::int64_t num_visits() const { return num_visits_; }

 private:
  struct Guest {  ///< a visit, from the posting of its receive to its departure
    std::int64_t step;
    std::size_t slot;
    Visit visit;
    RowSelection rows;
  };

  // Two ranks exchange at most one message of each kind in a slice of a pass, hence no step in the tag.
  enum Tag : int { kOperandTag, kNeighbourTag, kDepartureTag, kHomeTag, kNumTags };

  RowSelection rows_visiting(Rank owner, std::int64_t step) const;
  std::optional<Guest> guest_of(std::int64_t step);
  DeviceLink* link() const { return buffers_.mailroom.link; }
  int tag(Tag kind) const;
  template <class Exchange>
  void in_group(Exchange&& exchange);
  Bundle views_like(const Bundle& own, const Buffer& buffer, Rank owner) const;
  void start_operands(std::int64_t step);
  void post_operands(std::int64_t step);
  void finish_operands(std::int64_t step);
  void exchange_accumulators(std::int64_t step);
  void receive_accumulators(const Guest& guest);
  void send_accumulators(const Guest& guest);
  void send_own_accumulators(std::int64_t step);
  void receive_own_accumulators(std::int64_t step);
  void finish_sends();
  void hold_until_arrived();
  void fold_guest(const std::function<void(const Visit&)>& fold);
  template <class Condition>
  void wait_until(Condition&& condition);

  const Schedule& schedule_;
  Leg leg_;
  std::span<VisitBuffers> all_buffers_;
  VisitBuffers& buffers_;
  int first_tag_;
  ComputeDevice& device_;
  Travellers own_;
  Rotation rotation_;
  Side side_;
  Rank rank_;
  std::unique_ptr<WorkMark> ready_;    ///< operands, then accumulators, are as they must be before they leave
  std::unique_ptr<WorkMark> arrived_;  ///< what the next fold needs is here
  std::unique_ptr<QueueClock> stalls_, steps_;
  std::int64_t num_visits_ = 0;
  std::optional<Guest> next_, guest_, last_;
  std::size_t next_slot_ = 0;
  double waiting_seconds_ = 0;  ///< of the host's thread
};

}  // namespace hilbertring
