#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/block_attention.h"
#include "core/buffer.h"
#include "ring/backend.h"
#include "ring/memory_model.h"
#include "ring/schedule.h"
#include "ring/staging.h"
#include "ring/transport.h"

namespace hilbertring {

/// The tensors of a problem, as the library is handed them and hands them out; kRowMax and kRowSum are of the softmax's running state.
enum class ShardTensor { kQ, kK, kV, kDo, kO, kLse, kDq, kDk, kDv, kRowMax, kRowSum };

/// What one pass did on this rank.
struct PassReport {
  double seconds = 0;                ///< wall time of the pass on this rank
  double waiting_seconds = 0;        ///< of it, waiting for messages
  double step_seconds = 0;           ///< of it, a step of the ring: a visit waited for and folded, on average; 0: nobody came
  std::int64_t allowed_pairs = 0;    ///< folded by this rank, all heads and batch elements
  std::int64_t sent_bytes = 0;       ///< by this rank, counted by the transport
  std::int64_t predicted_bytes = 0;  ///< by this rank, from the schedule
};

/// Called now and then with work done and to do (chunk pairs on this rank): for progress bars.
using ProgressCallback = std::function<void(Pass pass, std::int64_t done, std::int64_t total)>;

/// What a pass leaves out, for benchmarks: results of all but kWhole are meaningless.
enum class PassMode {
  kWhole,
  kComputeAlone,   ///< computes every block on whatever is in the buffers, sends nothing
  kTransfersAlone  ///< sends everything, computes no block
};

struct RingOptions {
  Backend backend = Backend::kCpu;
  int gpu = 0;                                      ///< Backend::kCuda: of the GPUs that this process sees, the one of this rank
  int num_threads = 1;                              ///< of the CPU's kernels on this rank, or of the host's part of a GPU's work
  ElementType output_type = ElementType::kFloat32;  ///< largest type that results will be stored as: for the memory prediction
  std::int64_t memory_limit_bytes = 0;              ///< of this rank's host memory; a prediction above it is refused with the figure; 0: no limit
  std::int64_t staging_bytes = kStagingBytes;       ///< most of a piece of a tensor on its way through the host's memory; same on all
  bool in_legs = false;                             ///< passes may be cut: memory for what moves then is part of the prediction; same on all
  ProgressCallback progress = {};
};

/// How the messages of ranks with this backend travel, over a transport that links devices or does not.
MessagePath message_path(Backend backend, bool links_devices);

/// Exact attention over the ranks of a transport, forward and backward. Collective: every rank makes the same calls in the same order.
///
///   RingAttention attention(transport, problem, orders, options);
///   attention.load(ShardTensor::kQ, q_slab);  ... kK, kV (and kDo)
///   attention.forward();
///   attention.store(ShardTensor::kO, ElementType::kBfloat16, o_slab);
///   attention.backward();
///   attention.store(ShardTensor::kDq, ...);
///
/// A slab is this rank's run of tokens in sequence order, `sequence_slab(N, P, rank)` (redistribution.h): [B, n_slab, heads, D] row-major, host
/// memory, of the problem's type; lse: [B, H, n_slab]. Curve order, shards and visits are the library's own business.
class RingAttention {
 public:
  /// Validates the problem, predicts memory, allocates the shard and agrees on who holds which token. `schedule` is shared: virtual ranks of one
  /// process need one. Throws Error(kUsage): problem or number of ranks; Error(kInput): the order is no permutation; Error(kFailure): memory.
  RingAttention(Transport& transport, std::shared_ptr<const Schedule> schedule, RingOptions options);
  ~RingAttention();
  RingAttention(RingAttention&&) noexcept;

  /// Takes in q, k, v or do. Replaces what was there. (And the state between legs: see `resume_at`.)
  void load(ShardTensor tensor, std::span<const std::byte> slab);
  /// Likewise from a reader that is asked for one run of the slab's tokens after the other (some may be empty): no whole slab is needed in memory. A
  /// GPU copies one while the next is read.
  void load_in_pieces(ShardTensor tensor, const PieceReader& read);
  /// Makes q, k, v or do on the spot, as `load` would take it in from a tensor of normal numbers: element i (row-major, [B, N, heads, D]) is
  /// normal_at(seed, tensor, i), rounded once to the problem's type. Nothing is sent, and nothing passes through the host where a GPU computes.
  void load_random(ShardTensor tensor, std::uint64_t seed);
  /// o and lse of what has been loaded (kQ, kK, kV).
  PassReport forward(PassMode mode = PassMode::kWhole);
  /// dq, dk, dv; needs kDo and a whole forward pass before a whole one.
  PassReport backward(PassMode mode = PassMode::kWhole);

  /// A leg of a pass, needs `in_legs`: the pairs of some lags (ring/leg.h), which must be those behind the last leg's, from 0 on. The leg with the
  /// last lag ends the pass as the calls above do, with their bits. Between legs the state can be handed out and taken in by another job, of any
  /// number of ranks, that has loaded the inputs: of the forward pass kRowMax, kRowSum and kO, of the backward pass kRowMax, kO, kDq, kDk and kDv; as
  /// the type that is computed in, without conversion. kRowMax, kRowSum: [B, H, n_slab].
  PassReport fold(Pass pass, LagRange lags);
  std::int64_t num_lags() const;
  /// The next leg is of this pass and begins with this lag: the state was taken in.
  void resume_at(Pass pass, std::int64_t lag);
  /// Hands out a result as `type` (one rounding from what was computed in). kLse is float32 (float64 is allowed too).
  void store(ShardTensor tensor, ElementType type, std::span<std::byte> slab);
  void store_in_pieces(ShardTensor tensor, ElementType type, const PieceWriter& write);

  /// Of the host; on the GPU besides: tensors, and what its kernels need for themselves (not predicted).
  const MemoryMeter& memory() const;
  const MemoryMeter& gpu_memory() const;
  const MemoryMeter& gpu_scratch() const;
  const RankMemory& predicted_memory() const;
  std::string device() const;
  /// The type to which softmax weights are rounded before they are multiplied.
  ElementType weights_type() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hilbertring
