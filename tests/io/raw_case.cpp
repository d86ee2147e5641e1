#include "tests/io/raw_case.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace hilbertring::test {

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "hilbertring-io-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw failure("can't make a temporary directory");
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> TemporaryDirectory::names() const {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path_)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

DatatypeHandle copy_of(hid_t type) { return DatatypeHandle(H5Tcopy(type)); }

void write_string_attribute(hid_t object, const std::string& name, const std::string& text, bool is_variable) {
  const DatatypeHandle type = copy_of(H5T_C_S1);
  H5Tset_size(type.get(), is_variable ? H5T_VARIABLE : text.size());
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  const DataspaceHandle space(H5Screate(H5S_SCALAR));
  const AttributeHandle attribute(H5Acreate2(object, name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT));
  const char* pointer = text.c_str();
  const void* value = is_variable ? static_cast<const void*>(&pointer) : pointer;
  checked(H5Awrite(attribute.get(), type.get(), value), ErrorKind::kFailure, "test attribute");
}

RawCase::RawCase() {
  const auto float32 = [] { return copy_of(H5T_IEEE_F32LE); };
  datasets["q"] = {{1, 12, 4, 8}, float32};
  datasets["k"] = {{1, 12, 2, 8}, float32};
  datasets["v"] = {{1, 12, 2, 8}, float32};
  write_spec = [this](hid_t file) { write_string_attribute(file, "spec", spec, true); };
}

void RawCase::write(const std::string& path) const {
  const Hdf5Session session;
  const FileHandle file(checked(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), ErrorKind::kFailure, "test file"));
  for (const auto& [name, dataset] : datasets) {
    const DatatypeHandle type = dataset.type();
    const DataspaceHandle space(H5Screate_simple(static_cast<int>(dataset.shape.size()), dataset.shape.data(), nullptr));
    const DatasetHandle handle(checked(H5Dcreate2(file.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                                       ErrorKind::kFailure, "test dataset"));
    if (dataset.bytes.empty()) continue;
    checked(H5Dwrite(handle.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, dataset.bytes.data()), ErrorKind::kFailure, "test data");
  }
  write_spec(file.get());
}

std::optional<Error> error_of(const std::function<void()>& step) {
  try {
    step();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

std::optional<Error> error_of_opening(const std::string& path) {
  return error_of([&] { CaseFile::open(path, MPI_COMM_SELF); });
}

std::vector<std::byte> index_bytes(ElementType type, std::int64_t first, std::int64_t count) {
  const auto size = static_cast<std::size_t>(size_bytes(type));
  std::vector<std::byte> bytes(size * static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    const std::uint64_t mixed = (static_cast<std::uint64_t>(first) + i + 1) * 0x9e3779b97f4a7c15u;
    const std::uint64_t kept = mixed >> (64 - 8 * size);  // the upper bits are the mixed ones
    std::memcpy(bytes.data() + i * size, &kept, size);
  }
  return bytes;
}

std::vector<std::byte> slice(const std::vector<std::byte>& whole, std::size_t num_tokens, std::size_t inner_bytes, Range<SequenceIndex> tokens) {
  const std::size_t block = num_tokens * inner_bytes;
  const auto begin = static_cast<std::size_t>(tokens.begin.value) * inner_bytes;
  const auto end = static_cast<std::size_t>(tokens.end.value) * inner_bytes;
  std::vector<std::byte> part;
  for (std::size_t outer = 0; outer < whole.size(); outer += block) {
    part.insert(part.end(), whole.data() + outer + begin, whole.data() + outer + end);
  }
  return part;
}

std::vector<std::byte> bytes_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> chars{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::byte> bytes(chars.size());
  std::memcpy(bytes.data(), chars.data(), chars.size());
  return bytes;
}

}  // namespace hilbertring::test
