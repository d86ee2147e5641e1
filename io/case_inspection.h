#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/case_file.h"
#include "io/hdf5_handles.h"

namespace hilbertring {

/// Throws Error(kInput) unless `path` is a regular file that can be read, is HDF5, and is as long as its header says. Opens it serially for a moment,
/// so that HDF5 meets a bad file on one rank only.
void probe_file(const std::string& path);

/// A dataset that SPEC.md knows, open.
struct FoundDataset {
  DatasetInfo info;
  DatasetHandle handle;
};

/// Everything about a case or result but its data.
struct CaseContents {
  std::vector<FoundDataset> datasets;
  DatasetHandle order;  ///< null if there is none
  Shape shape;
  ElementType type = ElementType::kFloat32;
  Specification specification;
  std::vector<std::pair<std::string, std::string>> attributes;
};

/// Reads and checks it. Throws Error(kInput) naming `path`, the thing, the value and the rule.
CaseContents inspect_case(hid_t file, const std::string& path);

}  // namespace hilbertring
