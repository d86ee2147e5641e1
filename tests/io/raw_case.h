#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/element_type.h"
#include "core/error.h"
#include "io/case_file.h"
#include "io/hdf5_handles.h"

namespace hilbertring::test {

/// A directory of its own under the system's temporary one, removed with everything in it at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  /// Names in the directory, sorted, hidden ones too.
  std::vector<std::string> names() const;

 private:
  std::string path_;
};

/// One dataset to be written by plain HDF5 calls.
struct RawDataset {
  std::vector<hsize_t> shape;
  std::function<DatatypeHandle()> type;
  std::vector<std::byte> bytes = {};  ///< as stored; empty: nothing is written
};

/// A case file made without the code under test. As it stands it is good: B=1 N=12 H=4 G=2 D=8, float32, q, k and v. Tests spoil one thing.
struct RawCase {
  RawCase();

  std::map<std::string, RawDataset> datasets;
  std::string spec = R"({"segment_lengths": [12], "dilation_rates": [1]})";
  std::function<void(hid_t file)> write_spec;  ///< by default a variable-length UTF-8 string

  void write(const std::string& path) const;
};

DatatypeHandle copy_of(hid_t type);
void write_string_attribute(hid_t object, const std::string& name, const std::string& text, bool is_variable);

/// The error of `step`, or nothing.
std::optional<Error> error_of(const std::function<void()>& step);
std::optional<Error> error_of_opening(const std::string& path);

/// Bytes of elements [first, first + count) of a tensor whose elements hold their own index, mixed so that all bits take part.
std::vector<std::byte> index_bytes(ElementType type, std::int64_t first, std::int64_t count);
/// What tokens [begin, end) of a whole tensor [outer, num_tokens, inner] hold.
std::vector<std::byte> slice(const std::vector<std::byte>& whole, std::size_t num_tokens, std::size_t inner_bytes, Range<SequenceIndex> tokens);

std::vector<std::byte> bytes_of_file(const std::string& path);

}  // namespace hilbertring::test
