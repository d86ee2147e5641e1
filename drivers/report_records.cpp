#include "drivers/report_records.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/specification.h"
#include "drivers/bench_report.h"
#include "drivers/csv.h"
#include "io/files.h"

namespace hilbertring {

namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// The values of one record, asked for by their paths ("forward.ring.median_seconds"); complaints name file, line, path and rule.
class RecordReader {
 public:
  RecordReader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  const std::string& where() const { return where_; }

  /// Null counts as missing.
  bool has(const std::string& path) const { return find(path) != nullptr; }

  std::string text(const std::string& path) const {
    const Json* value = find(path);
    if (value == nullptr || !value->is_string()) throw complaint(path, "must be a text");
    // It becomes a cell of tables.
    if (!is_cell_text(value->get_ref<const std::string&>())) throw complaint(path, "must be a text without line breaks and other control characters");
    return value->get<std::string>();
  }

  std::int64_t integer(const std::string& path, std::int64_t minimum) const {
    const Json* value = find(path);
    const bool is_good =
        value != nullptr && value->is_number_integer() && value->get<double>() >= static_cast<double>(minimum) && value->get<double>() < 0x1p62;
    if (!is_good) throw complaint(path, "must be a whole number of at least " + std::to_string(minimum));
    return value->get<std::int64_t>();
  }

  double positive(const std::string& path) const {
    const double value = number(path);
    if (!(value > 0)) throw complaint(path, "must be a number above 0");
    return value;
  }

  std::optional<double> number_if_there(const std::string& path) const { return has(path) ? std::optional(number(path)) : std::nullopt; }

  double number(const std::string& path) const {
    const Json* value = find(path);
    if (value == nullptr || !value->is_number() || !std::isfinite(value->get<double>())) throw complaint(path, "must be a number");
    return value->get<double>();
  }

  const Json& object(const std::string& path) const {
    const Json* value = find(path);
    if (value == nullptr || !value->is_object()) throw complaint(path, "must be an object");
    return *value;
  }

  Error complaint(const std::string& path, const std::string& rule) const {
    return input_error(where_ + ": damaged record: '" + path + "' " + (has(path) ? rule : "is missing"));
  }

 private:
  const Json* find(const std::string& path) const {
    const Json* value = &json_;
    std::istringstream names(path);
    for (std::string name; std::getline(names, name, '.');) {
      const auto entry = value->is_object() ? value->find(name) : value->end();
      if (!value->is_object() || entry == value->end() || entry->is_null()) return nullptr;
      value = &*entry;
    }
    return value;
  }

  const Json& json_;
  std::string where_;
};

RecordedPass read_pass(const RecordReader& record, const std::string& name) {
  RecordedPass pass;
  pass.median_seconds = record.positive(name + ".ring.median_seconds");
  pass.p95_seconds = record.positive(name + ".ring.p95_seconds");
  if (pass.p95_seconds < pass.median_seconds) throw record.complaint(name + ".ring.p95_seconds", "must not be below the median");
  pass.teraflop_per_second = record.number(name + ".teraflop_per_second");
  pass.allowed_pairs = record.integer(name + ".allowed_pairs", 0);
  pass.sent_bytes = record.integer(name + ".sent_bytes", 0);
  pass.dense_ring_bytes = record.integer(name + ".dense_ring_bytes", 0);
  pass.hidden_share = record.number_if_there(name + ".hidden_share");
  if (record.has(name + ".predicted_ms")) pass.predicted_seconds = record.positive(name + ".predicted_ms") * 1e-3;
  return pass;
}

/// Of the specification's `key`, a list's entries with blanks between them.
std::string value_text(const RecordReader& record, const std::string& key) {
  const std::string path = "spec." + key;
  if (!record.has(path)) return "";
  const Json& value = record.object("spec")[key];
  if (value.is_string()) return record.text(path);
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const Json& entry : value) text.append(text.empty() ? "" : " ").append(entry.dump());
  return text;
}

std::vector<std::pair<std::string, std::string>> read_specification(const RecordReader& record) {
  record.object("spec");
  std::vector<std::pair<std::string, std::string>> values;
  for (const std::string& key : specification_keys()) values.emplace_back(key, value_text(record, key));
  if (record.text("spec.curve").empty()) throw record.complaint("spec.curve", "must be a text that is not empty");
  return values;
}

BenchRecord read_measured(const RecordReader& record) {
  BenchRecord result;
  result.where = record.where();
  if (record.has("label")) result.label = record.text("label");
  result.program_version = record.text("program_version");
  result.build = record.text("build");
  result.device = record.text("device");
  result.backend = record.text("backend");
  result.transport = record.text("transport");
  result.type = record.text("type");
  result.pattern = record.text("pattern");
  result.specification = read_specification(record);
  result.shape = {.batch = record.integer("shape.batch", 1),
                  .tokens = record.integer("shape.tokens", 1),
                  .heads = record.integer("shape.heads", 1),
                  .kv_heads = record.integer("shape.kv_heads", 1),
                  .head_dim = record.integer("shape.head_dim", 1)};
  result.num_nodes = record.integer("nodes", 1);
  result.num_ranks = record.integer("ranks", 1);
  result.num_threads = record.integer("threads_per_rank", 1);
  result.num_repeats = record.integer("repeats", 1);
  result.forward = read_pass(record, "forward");
  if (record.has("backward")) result.backward = read_pass(record, "backward");
  result.neighbour_share = record.number_if_there("neighbours.share");
  result.peak_bytes = record.integer("peak_bytes", 0);
  result.predicted_peak_bytes = record.integer("predicted_peak_bytes", 0);
  return result;
}

FailedRecord read_failed(const RecordReader& record) {
  FailedRecord failed{record.where(), record.text("label"), std::nullopt, record.text("failed.line")};
  constexpr int kMaxStatus = std::numeric_limits<int>::max();
  if (record.has("failed.status")) failed.status = static_cast<int>(std::min<std::int64_t>(record.integer("failed.status", 0), kMaxStatus));
  return failed;
}

void read_line(const std::string& line, const std::string& where, Records& records) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) throw input_error(where + ": damaged record: it must be a JSON object on one line");
  const RecordReader record(json, where);
  if (!json.contains("program") || json["program"] != kBenchProgram) throw input_error(where + ": is no record of '" + kBenchProgram + "'");
  if (!json.contains("record_version") || json["record_version"] != kBenchRecordVersion) {
    throw input_error(where + ": is a record of another version; this program knows version " + std::to_string(kBenchRecordVersion));
  }
  if (record.has("failed")) {
    records.failed.push_back(read_failed(record));
  } else {
    records.measured.push_back(read_measured(record));
  }
}

void read_file(const std::string& path, Records& records) {
  std::istringstream lines(read_text_file(path));
  int number = 0;
  for (std::string line; std::getline(lines, line);) read_line(line, path + ":" + std::to_string(++number), records);
  if (number == 0) throw input_error(path + ": is empty; it must hold records, one a line");
}

std::vector<std::string> files_of(const std::string& path) {
  std::error_code problem;
  if (!fs::is_directory(path, problem)) return {path};
  std::vector<std::string> files;
  fs::directory_iterator entry(path, problem);
  for (; !problem && entry != fs::directory_iterator(); entry.increment(problem)) {
    const std::string name = entry->path().filename();
    if (!name.starts_with('.') && name.ends_with(".json")) files.push_back(entry->path());
  }
  if (problem) throw input_error(path + ": can't be read: " + problem.message());
  std::sort(files.begin(), files.end());
  return files;
}

/// A point must have one record: which of two would be right nobody knows here.
void refuse_doubles(const Records& records) {
  std::map<std::string, std::string> where_of;
  const auto claim = [&](const std::string& label, const std::string& where) {
    const auto [first, is_new] = where_of.emplace(label, where);
    if (!is_new) throw input_error(where + ": label '" + label + "' stands in " + first->second + " already");
  };
  for (const BenchRecord& record : records.measured) {
    if (record.label) claim(*record.label, record.where);
  }
  for (const FailedRecord& record : records.failed) claim(record.label, record.where);
}

}  // namespace

const std::string& BenchRecord::specified(const std::string& key) const {
  const auto found = std::find_if(specification.begin(), specification.end(), [&](const auto& entry) { return entry.first == key; });
  if (found == specification.end()) throw failure("specification without '" + key + "'");
  return found->second;
}

Records read_records(const std::vector<std::string>& paths) {
  Records records;
  for (const std::string& path : paths) {
    for (const std::string& file : files_of(path)) read_file(file, records);
  }
  refuse_doubles(records);
  return records;
}

}  // namespace hilbertring
