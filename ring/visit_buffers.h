#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "core/buffer.h"
#include "ring/parcel.h"
#include "ring/schedule.h"

namespace hilbertring {

/// Bytes of the buffers of one rank: what it takes to be visited and to have its own rows visit. From the schedule alone.
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
  std::int64_t message_bytes() const { return sum_of(&ParcelBytes::message); }
  /// On the host.
  std::int64_t table_bytes() const { return sum_of(&ParcelBytes::table); }

 private:
  std::int64_t sum_of(std::int64_t ParcelBytes::*part) const;
};

/// Buffers that serve every pass of the schedule's problem, in turn; `in_legs`: every leg of one, too, which begins and ends anywhere.
VisitBufferSizes visit_buffer_sizes(const Schedule& schedule, Rank rank, MessagePath path, bool in_legs = false);

/// The buffers themselves: allocated before a pass, nothing inside it.
struct VisitBuffers {
  VisitBuffers(const VisitBufferSizes& sizes, const Mailroom& room, const RankMeters& meters);

  static constexpr std::size_t kSlots = 2;
  std::int64_t num_slots;
  const Mailroom& mailroom;
  std::array<Buffer, kSlots> operands, accumulators;
  std::array<std::unique_ptr<WorkMark>, kSlots> folded;  ///< the visit that was in the slot last
  std::array<Parcel, kSlots> operand_in, operand_out;    ///< by the step's parity
  Parcel neighbour_in, neighbour_out, start_in, start_out, home_in, home_out;
};

}  // namespace hilbertring
