#include "drivers/suite_manifest.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "core/error.h"
#include "io/checksum.h"
#include "io/dataset_shape.h"

namespace hilbertring {

namespace {

using Json = nlohmann::ordered_json;

Json shape_json(const Shape& shape) {
  return {{"batch", shape.batch}, {"tokens", shape.tokens}, {"heads", shape.heads}, {"kv_heads", shape.kv_heads}, {"head_dim", shape.head_dim}};
}

Json datasets_json(const SuiteEntry& entry) {
  Json all = Json::object();
  const FileLayout layout = entry.suite_case.layout();
  for (const auto& [name, sum] : entry.data_sums) all[name] = {{"type", "int64"}, {"shape", {layout.shape.tokens}}, {"sha256", sum}};
  for (const auto& [name, type] : layout.datasets) {
    all[std::string(to_string(name))].update({{"type", to_string(type)}, {"shape", dataset_shape(name, layout.shape)}});
  }
  return all;
}

Json entry_json(const SuiteEntry& entry) {
  const SuiteCase& suite_case = entry.suite_case;
  return {{"name", suite_case.name},
          {"file", suite_case.file_name()},
          {"covers", suite_case.covers},
          {"type", to_string(suite_case.type)},
          {"shape", shape_json(suite_case.shape)},
          {"gradient", suite_case.has_gradient},
          {"seed", suite_case.seed},
          {"specification", Json::parse(to_json(suite_case.specification))},
          {"bytes", entry.num_bytes},
          {"sha256", entry.sha256},
          {"datasets", datasets_json(entry)}};
}

std::vector<std::string> dataset_names(const SuiteCase& suite_case) {
  std::vector<std::string> names;
  for (const auto& [name, type] : suite_case.layout().datasets) names.emplace_back(to_string(name));
  names.emplace_back("order");
  return names;
}

/// Takes what only the set knows; all else must be as this program would write it.
SuiteEntry entry_from(const Json& json, const SuiteCase& suite_case, const std::string& path) {
  SuiteEntry entry{.suite_case = suite_case};
  try {
    entry.num_bytes = json.at("bytes").get<std::int64_t>();
    entry.sha256 = json.at("sha256").get<std::string>();
    for (const std::string& name : dataset_names(suite_case)) {
      entry.data_sums.emplace_back(name, json.at("datasets").at(name).at("sha256").get<std::string>());
    }
    if (json == entry_json(entry)) return entry;
  } catch (const Json::exception&) {
    // Said below.
  }
  throw input_error(path + ": does not describe case '" + suite_case.name + "' as " + suite_title() + " has it");
}

void require_version(const Json& json, const std::string& path) {
  if (!json.is_object() || !json.contains("set") || !json.contains("version") || !json.contains("cases") || !json["cases"].is_array()) {
    throw input_error(path + ": is no manifest of a regression set");
  }
  if (json["set"] == kSuiteName && json["version"] == kSuiteVersion) return;
  throw input_error(path + ": is of set " + json["set"].dump(-1, ' ', true, Json::error_handler_t::replace) + " version " +
                    json["version"].dump(-1, ' ', true, Json::error_handler_t::replace) + ", but this program knows " + suite_title());
}

std::string order_sha256(CaseFile& file) {
  const std::vector<std::int64_t> order = file.read_order();
  Sha256 sum;
  sum.add(std::as_bytes(std::span(order)));
  return sum.finish();
}

std::string first_difference(const SuiteEntry& found, const SuiteEntry& expected) {
  for (std::size_t i = 0; i < expected.data_sums.size(); ++i) {
    if (found.data_sums[i] != expected.data_sums[i]) return "'/" + expected.data_sums[i].first + "'";
  }
  return "its bytes beside the data";
}

}  // namespace

std::string SuiteEntry::path_in(const std::string& directory) const { return std::filesystem::path(directory) / suite_case.file_name(); }

std::string SuiteManifest::data_sha256() const {
  std::string lines;
  for (const SuiteEntry& entry : entries) {
    for (const auto& [dataset, sum] : entry.data_sums)
      lines.append(sum).append("  ").append(entry.suite_case.name).append("/").append(dataset).append("\n");
  }
  Sha256 all;
  all.add(std::as_bytes(std::span(lines)));
  return all.finish();
}

std::int64_t SuiteManifest::num_bytes() const {
  std::int64_t total = 0;
  for (const SuiteEntry& entry : entries) total += entry.num_bytes;
  return total;
}

std::string manifest_path(const std::string& directory) { return std::filesystem::path(directory) / kManifestName; }

/// One case a line, for people and for diff.
std::string to_json(const SuiteManifest& manifest) {
  const Json head = {{"set", kSuiteName}, {"version", kSuiteVersion}, {"data_sha256", manifest.data_sha256()}};
  std::string text = "{\n";
  for (const auto& [key, value] : head.items()) text += Json(key).dump() + ": " + value.dump() + ",\n";
  text += "\"cases\": [";
  for (const SuiteEntry& entry : manifest.entries) text += (&entry == &manifest.entries.front() ? "\n" : ",\n") + entry_json(entry).dump();
  return text + "\n]}\n";
}

SuiteManifest manifest_from_json(const std::string& text, const std::string& path) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) throw input_error(path + ": is no manifest of a regression set (it is not JSON)");
  require_version(json, path);
  SuiteManifest manifest;
  const Json& cases = json["cases"];
  for (const SuiteCase& suite_case : suite_cases()) {
    const auto names_it = [&](const Json& entry) { return entry.is_object() && entry.contains("name") && entry["name"] == suite_case.name; };
    const auto found = std::find_if(cases.begin(), cases.end(), names_it);
    if (found == cases.end()) throw input_error(path + ": lacks case '" + suite_case.name + "' of " + suite_title());
    manifest.entries.push_back(entry_from(*found, suite_case, path));
  }
  if (to_json(manifest) != text) throw input_error(path + ": is not as it was written");
  return manifest;
}

SuiteEntry measured_entry(const std::string& directory, const SuiteCase& suite_case) {
  SuiteEntry entry{.suite_case = suite_case};
  const std::string path = entry.path_in(directory);
  const auto file = CaseFile::open(path, MPI_COMM_SELF);
  for (const auto& [name, type] : suite_case.layout().datasets) entry.data_sums.emplace_back(to_string(name), dataset_sha256(*file, name));
  entry.data_sums.emplace_back("order", order_sha256(*file));
  entry.num_bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
  entry.sha256 = file_range_sha256(path, 0, entry.num_bytes);
  return entry;
}

void require_intact(const std::string& directory, const SuiteManifest& manifest) {
  for (const SuiteEntry& expected : manifest.entries) {
    const std::string path = expected.path_in(directory);
    std::error_code problem;
    const std::uintmax_t num_bytes = std::filesystem::file_size(path, problem);
    if (problem) throw input_error(path + ": can't be read: " + problem.message());
    if (static_cast<std::int64_t>(num_bytes) != expected.num_bytes) {
      throw input_error(path + ": is damaged: it has " + std::to_string(num_bytes) + " bytes, not " + std::to_string(expected.num_bytes));
    }
    // Before HDF5 sees it: what it says of damaged bytes helps nobody.
    const bool is_whole = file_range_sha256(path, 0, expected.num_bytes) == expected.sha256;
    std::optional<SuiteEntry> found;
    const auto unreadable = error_of([&] { found = measured_entry(directory, expected.suite_case); });
    if (is_whole && unreadable) throw *unreadable;
    if (is_whole && found->data_sums == expected.data_sums) continue;
    throw input_error(path + ": is damaged: its SHA-256 is not the manifest's" +
                      (found ? "; the difference is in " + first_difference(*found, expected) : ""));
  }
}

}  // namespace hilbertring
