#pragma once

#include <cstdint>

#include "core/element_type.h"
#include "ring/message_path.h"
#include "ring/schedule.h"

namespace hilbertring {

/// Bytes that one rank holds, by what they are for: predicted before anything is allocated. All but the kernels' scratch are counted by the rank's
/// MemoryMeter.
struct MemoryPrediction {
  std::int64_t shard_bytes = 0;           ///< inputs, state, results and times of the rank's own rows: held all the time
  std::int64_t redistribution_bytes = 0;  ///< lists of rows: held all the time
  std::int64_t setup_bytes = 0;           ///< at most what agreeing on who holds which token adds, or telling the device
  std::int64_t load_bytes = 0;            ///< most that loading or storing a tensor adds (not counting the caller's slab)
  std::int64_t load_in_pieces_bytes = 0;  ///< likewise where the caller has no slab, but reads or writes piece by piece
  std::int64_t pass_bytes = 0;            ///< what the passes add: buffers for visiting rows, the same for each pass
  std::int64_t scratch_bytes = 0;         ///< working memory of the CPU kernels' threads

  /// Most that is held at a time, without scratch: what the meter must show at the end.
  std::int64_t peak_bytes() const { return peak_with(load_bytes); }
  std::int64_t total_bytes() const { return peak_bytes() + scratch_bytes; }
  /// Likewise where tensors come and go in pieces.
  std::int64_t peak_in_pieces_bytes() const { return peak_with(load_in_pieces_bytes); }
  std::int64_t total_in_pieces_bytes() const { return peak_in_pieces_bytes() + scratch_bytes; }

 private:
  std::int64_t peak_with(std::int64_t loading_bytes) const;
};

/// What a rank holds in each place.
struct RankMemory {
  MemoryPrediction host;
  MemoryPrediction gpu;  ///< all zero on the CPU
};

/// A piece of a tensor on its way through the host's memory: large enough for full speed.
inline constexpr std::int64_t kStagingBytes = std::int64_t{32} << 20;

/// For results handed out as `output_type` (lse apart), and, `in_legs`, for the state that is handed out and taken in between legs. `num_threads` are
/// the CPU kernels', which compute where the path is kHost.
RankMemory predict_memory(const Schedule& schedule, Rank rank, MessagePath path, int num_threads, ElementType output_type,
                          std::int64_t staging_bytes = kStagingBytes, bool in_legs = false);

}  // namespace hilbertring
