#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "io/agreement.h"
#include "io/hdf5_handles.h"

namespace hilbertring {

/// A box of a dataset: `start` and `count` have one entry per dimension.
struct Slab {
  std::vector<hsize_t> start;
  std::vector<hsize_t> count;

  std::int64_t num_elements() const;
  friend bool operator==(const Slab&, const Slab&) = default;
};

/// Calls `visit` with the slab cut into slabs of at most `max_bytes` each (or single elements), in row-major order: each piece is contiguous in a
/// buffer that holds the whole slab. No call for an empty slab.
void visit_pieces(const Slab& slab, std::int64_t element_bytes, std::int64_t max_bytes, const std::function<void(const Slab&)>& visit);

/// Bytes that one collective transfer moves for a rank at most: far enough below the 2^31 where MPI-IO's counts end.
inline constexpr std::int64_t kMaxTransferBytes = std::int64_t{1} << 30;

/// A dataset of an open file, and what is needed to move slabs of it.
struct SlabTarget {
  hid_t dataset;
  hid_t memory_type;
  std::int64_t element_bytes;
  std::string what;  ///< "case.h5: '/q'", for messages
};

/// Collective: reads (writes) each rank's own slab, maybe empty, into (from) a buffer of its size. Every rank takes part in as many rounds as the
/// rank with the most pieces, also after an error, so that none waits; then all throw the same Error (reading: kInput, writing: kFailure).
void read_slab(const FileRanks& ranks, const SlabTarget& target, const Slab& slab, std::span<std::byte> out);
void write_slab(const FileRanks& ranks, const SlabTarget& target, const Slab& slab, std::span<const std::byte> in);

}  // namespace hilbertring
