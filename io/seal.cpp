#include "io/seal.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "io/checksum.h"
#include "io/dataset_shape.h"
#include "io/files.h"
#include "io/hdf5_handles.h"

namespace hilbertring {
namespace {

/// A line of its own, so that `tail -n 1` shows it.
constexpr std::string_view kBegin = "\nhilbertring seal ";
/// Of a seal, ten times over: a few pairs of numbers and a sum.
constexpr std::int64_t kMostSealBytes = 4096;

/// Offset and length of the bytes of each dataset, ascending.
using Extents = std::vector<std::pair<std::int64_t, std::int64_t>>;

Extents extents_of_datasets(const std::string& path) {
  const Hdf5Session session;
  const auto check = [&](auto status) { return checked(status, ErrorKind::kFailure, path + ": can't be sealed"); };
  const FileHandle file(check(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)));
  Extents extents;
  for (const TensorName name : kTensorNames) {
    if (check(H5Lexists(file.get(), std::string(to_string(name)).c_str(), H5P_DEFAULT)) == 0) continue;
    const DatasetHandle dataset(check(H5Dopen2(file.get(), std::string(to_string(name)).c_str(), H5P_DEFAULT)));
    extents.emplace_back(H5Dget_offset(dataset.get()), H5Dget_storage_size(dataset.get()));
  }
  std::sort(extents.begin(), extents.end());
  return extents;
}

/// Of what lies between the extents, and of the extents: else a damaged seal could name others.
std::string sum_between(const std::string& path, const Extents& extents, std::int64_t num_bytes) {
  Sha256 sum;
  const std::string text = nlohmann::json(extents).dump();
  sum.add(std::as_bytes(std::span(text)));
  std::int64_t end_of_last = 0;
  for (const auto& [offset, length] : extents) {
    add_file_range(sum, path, end_of_last, offset - end_of_last);
    end_of_last = offset + length;
  }
  add_file_range(sum, path, end_of_last, num_bytes - end_of_last);
  return sum.finish();
}

struct Seal {
  std::int64_t num_bytes = 0;  ///< of the file before it
  Extents extents;
  std::string sum;
};

/// Ascending, apart from each other and inside the file.
bool are_possible(const Extents& extents, std::int64_t num_bytes) {
  std::int64_t end_of_last = 0;
  for (const auto& [offset, length] : extents) {
    if (offset < end_of_last || length < 0 || length > num_bytes || offset > num_bytes - length) return false;
    end_of_last = offset + length;
  }
  return true;
}

/// Throws input_error where there is none that can be read.
Seal read_seal(const std::string& path) {
  const Error missing = input_error(path + ": is not complete or is damaged: it does not end with a seal");
  std::error_code error;
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(path, error));
  if (error) throw input_error(path + ": can't be read: " + error.message());
  std::string tail(static_cast<std::size_t>(std::min(size, kMostSealBytes)), '\0');
  std::ifstream file(path, std::ios::binary);
  file.seekg(size - static_cast<std::int64_t>(tail.size()));
  if (!file.read(tail.data(), static_cast<std::streamsize>(tail.size()))) throw input_error(path + ": can't be read");
  const std::size_t begin = tail.rfind(kBegin);
  if (begin == std::string::npos) throw missing;
  try {
    const auto json = nlohmann::json::parse(tail.substr(begin + kBegin.size()));
    Seal seal{size - static_cast<std::int64_t>(tail.size() - begin), json.at("datasets"), json.at("sha256")};
    if (!are_possible(seal.extents, seal.num_bytes)) throw missing;
    return seal;
  } catch (const nlohmann::json::exception&) {
    throw missing;
  }
}

}  // namespace

void seal_file(const std::string& path) {
  const Extents extents = extents_of_datasets(path);
  const auto num_bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
  const nlohmann::ordered_json seal = {{"datasets", extents}, {"sha256", sum_between(path, extents, num_bytes)}};
  append_to_file(path, std::string(kBegin) + seal.dump() + "\n");
}

void require_seal(const std::string& path) {
  const Seal seal = read_seal(path);
  std::string sum;
  const auto unreadable = error_of([&] { sum = sum_between(path, seal.extents, seal.num_bytes); });
  if (unreadable) throw input_error(unreadable->message());
  if (sum != seal.sum) throw input_error(path + ": is damaged: the SHA-256 of what lies around its datasets is not that of its seal");
}

}  // namespace hilbertring
