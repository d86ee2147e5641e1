#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "core/buffer.h"
#include "ring/parcel.h"
#include "ring/schedule.h"

namespace hilbertring {

/// Bytes of the buffers of one rank for one pass: what it takes to be visited and to have its own rows visit. From the schedule alone.
struct VisitBufferSizes {
  std::int64_t num_slots = 0;          ///< visits held at a time: 2, so that one arrives while the other is computed; fewer if there are fewer
  std::int64_t operand_bytes = 0;      ///< one visiting shard's operands, each slot
  std::int64_t accumulator_bytes = 0;  ///< and its accumulators
  // Largest packed message of each kind (0 if all are whole shards): each slot.
  std::int64_t operand_in = 0, operand_out = 0;
  std::int64_t neighbour_in = 0, neighbour_out = 0;  ///< accumulators from and to the neighbour
  std::int64_t start_in = 0, start_out = 0;          ///< accumulators that leave home
  std::int64_t home_in = 0, home_out = 0;            ///< accumulators that come home

  std::int64_t total_bytes() const;
};

VisitBufferSizes visit_buffer_sizes(const Schedule& schedule, Pass pass, Rank rank);

/// The buffers themselves: allocated once per pass, nothing inside it.
struct VisitBuffers {
  VisitBuffers(const VisitBufferSizes& sizes, const std::shared_ptr<MemoryMeter>& meter);

  static constexpr std::size_t kSlots = 2;
  std::array<Buffer, kSlots> operands, accumulators;
  std::array<Parcel, kSlots> operand_in, neighbour_out, home_out;  ///< for visitors here
  std::array<Parcel, kSlots> operand_out, start_out, home_in;      ///< for own rows elsewhere
  Parcel neighbour_in, start_in;
};

}  // namespace hilbertring
