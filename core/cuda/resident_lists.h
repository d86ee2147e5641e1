#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/buffer.h"
#include "core/cuda/device.h"
#include "core/cuda/work_list.h"

namespace hilbertring {

/// A work list whose arrays lie on the device.
struct ResidentList {
  const WorkTile* tiles = nullptr;
  const OwnRun* own_runs = nullptr;
  const Meeting* meetings = nullptr;
  const ExtremesTask* extremes_tasks = nullptr;
  TimeExtremes* extremes = nullptr;  ///< [num_extremes], made by whoever uses the list: times are no part of it
  const std::uint32_t* mask_words = nullptr;
  std::int32_t* num_claimed = nullptr;  ///< of each launch, in turn: 0 when the list is asked for
  std::int64_t num_extremes = 0, num_allowed_pairs = 0;
  std::vector<std::int64_t> launch_ends, strides;
};

/// Makes work lists on the device and keeps them, because pass after pass asks for the same: making one takes the host longer than short calls take
/// the device. All work on the device goes through the stream.
class ResidentLists {
 public:
  /// Device memory for lists that are kept; a list beyond that is made anew every time.
  static constexpr std::int64_t kKeptBytes = std::int64_t{128} << 20;

  ResidentLists(cudaStream_t stream, std::shared_ptr<MemoryMeter> meter);

  struct Request {
    const Pattern& pattern;
    std::span<const ChunkPair> pairs;
    Owner owner;
    TileRows tile_rows;
  };
  /// Good until the next call for the same owner. Throws what make_work_list throws.
  const ResidentList& get(const Request& request);

 private:
  struct Uploaded {
    ResidentList list;
    Buffer memory;
  };
  struct Kept {
    std::uint64_t pattern_id;
    Owner owner;
    TileRows tile_rows;
    std::vector<ChunkPair> pairs;
    Uploaded uploaded;
  };
  /// Pinned memory that a copy may still be reading, until the event.
  struct Staging {
    Buffer buffer;
    Event copied;
  };

  static bool is_of(const Kept& kept, const Request& request);
  const ResidentList* find(const Request& request) const;
  const ResidentList& make(const Request& request);
  void upload(const WorkList& list, Uploaded& uploaded);

  cudaStream_t stream_;
  std::shared_ptr<MemoryMeter> meter_;
  std::array<Staging, 2> staging_;
  std::vector<std::unique_ptr<Kept>> kept_;
  std::int64_t kept_bytes_ = 0;
  std::array<Uploaded, 2> passing_;  ///< by owner: a list that is not kept
};

}  // namespace hilbertring
