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
  // The largest message of each kind that goes through a parcel.
  ParcelBytes operand_in, operand_out;      ///< each slot
  ParcelBytes neighbour_in, neighbour_out;  ///< accumulators from and to the neighbour
  ParcelBytes start_in, start_out;          ///< accumulators that leave home
  ParcelBytes home_in, home_out;            ///< accumulators that come home

  /// Where tensors lie.
  std::int64_t tensor_bytes() const { return num_slots * (operand_bytes + accumulator_bytes); }
  /// Where messages lie.
  std::int64_t parcel_bytes() const;
};

/// On the host only packed messages go through parcels; a device's all do.
VisitBufferSizes visit_buffer_sizes(const Schedule& schedule, Pass pass, Rank rank, bool is_host);

/// Memory is counted where it lies: tensors on the device, messages on the host.
struct RankMeters {
  std::shared_ptr<MemoryMeter> device, host;
};

/// The buffers themselves: allocated once per pass, nothing inside it.
struct VisitBuffers {
  VisitBuffers(const VisitBufferSizes& sizes, ComputeDevice& device, const RankMeters& meters);

  static constexpr std::size_t kSlots = 2;
  std::array<Buffer, kSlots> operands, accumulators;
  std::array<std::unique_ptr<WorkMark>, kSlots> folded;  ///< the visit that was in the slot last
  std::array<Parcel, kSlots> operand_in, operand_out;    ///< by the step's parity
  Parcel neighbour_in, neighbour_out, start_in, start_out, home_in, home_out;
};

}  // namespace hilbertring
