#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "drivers/suite_cases.h"

namespace hilbertring {

inline constexpr const char* kManifestName = "manifest.json";

/// A case as it lies on disk.
struct SuiteEntry {
  SuiteCase suite_case;
  std::int64_t num_bytes = 0;
  std::string sha256 = {};                                          ///< of the file
  std::vector<std::pair<std::string, std::string>> data_sums = {};  ///< dataset -> SHA-256 of its bytes, in the order of the file

  std::string path_in(const std::string& directory) const;
};

/// What a set's manifest says: docs/FORMAT.md, "Regression sets", has its keys.
struct SuiteManifest {
  std::vector<SuiteEntry> entries;

  /// One sum for the data of all cases: equal sums, equal sets.
  std::string data_sha256() const;
  std::int64_t num_bytes() const;
};

std::string manifest_path(const std::string& directory);
std::string to_json(const SuiteManifest& manifest);
/// Throws input_error, beginning with `path`, unless the text is a manifest of this program's set and version and describes its cases, all of them.
SuiteManifest manifest_from_json(const std::string& text, const std::string& path);

/// The entry of a case whose file is complete: sizes and sums as they are found. Throws input_error if the file can't be read.
SuiteEntry measured_entry(const std::string& directory, const SuiteCase& suite_case);
/// Throws input_error that names the first file which is missing or whose bytes are not those that the manifest tells.
void require_intact(const std::string& directory, const SuiteManifest& manifest);

}  // namespace hilbertring
