#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "ring/attention.h"
#include "ring/pass_memory.h"
#include "ring/pass_progress.h"
#include "ring/rank_times.h"
#include "ring/redistribution.h"
#include "ring/ring_pass.h"
#include "ring/shard.h"
#include "ring/tensor_mover.h"

namespace hilbertring {

/// Folds pairs of a slice: with visiting rows, or (null) with the rank's own on both sides.
using FoldPairs = std::function<void(std::size_t slice, const Visit* visit, const std::vector<ChunkPair>& pairs)>;

/// What a rank has, and what it does in a pass.
struct RingAttention::State {
  State(Transport& t, std::shared_ptr<const Schedule> s, RingOptions o);
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  /// Collective, unless an exception is under way.
  ~State();

  /// Where messages have been: other ranks let go of it first, and of the shard.
  void drop_pass_memory();

  Redistribution make_redistribution(const Order& order);
  const Redistribution& redistribution_of(ShardTensor tensor) const;
  Tensor tensor_of(ShardTensor tensor) const;
  /// The shard's tensor, about to be taken in.
  Tensor loading(ShardTensor tensor);
  void load_random(ShardTensor tensor, std::uint64_t seed);
  /// A result as it is handed out: of the shard, or converted, which `memory` then holds.
  Tensor result_as(ShardTensor tensor, ElementType type, Buffer& memory);
  TensorMover mover_of(ShardTensor tensor);
  /// Calls `kernel(span of pairs)` for handfuls of pairs and looks after the ring in between.
  template <class Kernel>
  void fold(Pass pass, std::span<const ChunkPair> pairs, RingPass& ring, Kernel&& kernel);
  std::vector<RingPass> make_rings(Pass pass, const Leg& leg, const Travellers& own);
  /// For PassMode::kComputeAlone. What it takes is not part of the pass.
  void invent_visitors(std::vector<RingPass>& rings);
  /// All that is folded in a pass, in the order of the fold law for each slice; slices take turns.
  void go_round(Pass pass, const Leg& leg, std::vector<RingPass>& rings, const FoldPairs& fold_pairs);
  /// Throws usage_error unless a backward pass makes sense.
  void require_forward(PassMode pass_mode) const;
  /// Blocks until the device has done all that it was given.
  void finish_work();
  PassReport measured(Pass pass, PassMode pass_mode, const Leg& leg);
  bool is_last(const Leg& leg) const { return leg.lags.end >= schedule->num_lags(); }
  void forward(const Leg& leg, PassReport& report);
  void backward(const Leg& leg, PassReport& report);
  ForwardOperands own_forward_operands();
  BackwardOperands own_backward_operands();
  Times own_times() { return {query_times.of(*schedule->orders().queries, rank), key_times.of(*schedule->orders().keys, rank)}; }

  Transport& transport;
  std::shared_ptr<const Schedule> schedule;
  RingOptions options;
  Rank rank;
  RankMemory prediction;
  RankMeters meters;
  std::shared_ptr<MemoryMeter> gpu_scratch = std::make_shared<MemoryMeter>();
  std::unique_ptr<ComputeDevice> device;
  std::unique_ptr<DeviceLink> link;
  Mailroom mailroom;
  BlockAttention& kernels;
  Shard shard;
  RankTimes query_times, key_times;
  Redistribution queries;
  std::optional<Redistribution> keys;     ///< only if the keys have an order of their own
  std::optional<PassMemory> pass_memory;  ///< given back while a tensor is loaded or stored, which needs room of its own
  bool is_forward_done = false;
  int num_exceptions = std::uncaught_exceptions();
  std::int64_t next_lag = 0;         ///< that the next leg must begin with, unless it begins a pass
  PassMode mode = PassMode::kWhole;  ///< of the pass under way
  double invention_seconds = 0;      ///< of invent_visitors
  PassProgress progress;
};

}  // namespace hilbertring
