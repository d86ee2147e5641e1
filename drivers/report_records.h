#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/shape.h"

namespace hilbertring {

/// What a record says of one pass.
struct RecordedPass {
  double median_seconds = 0, p95_seconds = 0;
  double teraflop_per_second = 0;
  std::int64_t allowed_pairs = 0;
  std::int64_t sent_bytes = 0, dense_ring_bytes = 0;  ///< by all ranks
  std::optional<double> hidden_share;                 ///< if anything was sent
  std::optional<double> predicted_seconds;            ///< if the benchmark was given a machine's rates
};

/// One record of `bench`: docs/FORMAT.md, "Benchmark records".
struct BenchRecord {
  std::string where;  ///< "FILE:LINE"
  std::optional<std::string> label;
  std::string program_version, build, device, backend, transport, type, pattern;
  std::vector<std::pair<std::string, std::string>> specification;  ///< key and value, a list's entries with blanks between them
  Shape shape;
  std::int64_t num_nodes = 0, num_ranks = 0, num_threads = 0, num_repeats = 0;
  RecordedPass forward;
  std::optional<RecordedPass> backward;
  std::optional<double> neighbour_share;
  std::int64_t peak_bytes = 0, predicted_peak_bytes = 0;

  /// The specification's value of a key that every specification has.
  const std::string& specified(const std::string& key) const;
};

/// A point of a sweep that ended without a benchmark's record.
struct FailedRecord {
  std::string where;
  std::string label;
  std::optional<int> status;  ///< nullopt: its end was not seen
  std::string line;           ///< what it said last
};

struct Records {
  std::vector<BenchRecord> measured;
  std::vector<FailedRecord> failed;
};

/// Reads files of records, and all files NAME.json of directories in the order of their names. Throws input_error, naming file and line: what can't
/// be read, is no record of this version, lacks a key or has a value that can't be; a label, or the problem of an unlabelled record, that stands
/// twice.
Records read_records(const std::vector<std::string>& paths);

}  // namespace hilbertring
