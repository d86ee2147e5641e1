#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/element_type.h"
#include "core/index.h"
#include "core/shape.h"
#include "core/specification.h"

namespace hilbertring {

/// Inputs, results, and (checkpoints) the running state of the softmax.
enum class TensorName { kQ, kK, kV, kDo, kO, kLse, kDq, kDk, kDv, kRowMax, kRowSum };
/// "q", "k", "v", "do", "o", "lse", "dq", "dk", "dv", "row_max", "row_sum": the dataset's name.
std::string_view to_string(TensorName name);
/// One number for each query row, [B, H, N], at least float32: lse and the state.
constexpr bool is_row_scalar(TensorName name) { return name == TensorName::kLse || name == TensorName::kRowMax || name == TensorName::kRowSum; }

/// One dataset of a case or result file, as it is found.
struct DatasetInfo {
  TensorName name;
  ElementType type;
  std::vector<std::int64_t> shape;
  std::optional<std::string> sha256;  ///< hexadecimal, from the attribute `sha256` on the dataset
};

/// A case or a result, opened for reading. Opening is collective over `comm` and checks everything that can be checked without reading the data: HDF5
/// signature, presence, type, rank and shape of each dataset, the spec. Throws Error(kInput), the same on every rank, naming file, thing, value and
/// rule. Datasets that the program does not know are ignored. With MPI_COMM_SELF every call is independent; calls are serialised inside, so that the
/// virtual ranks (threads) of a loopback job can share one object. Destruction is collective too, unless an exception is on its way, and must come
/// before MPI_Finalize. Works without MPI_Init as with MPI_COMM_SELF.
class CaseFile {
 public:
  static std::unique_ptr<CaseFile> open(const std::string& path, MPI_Comm comm);
  virtual ~CaseFile() = default;

  virtual const std::string& path() const = 0;
  virtual const Shape& shape() const = 0;  ///< from q and k (result files: from o and, if there, dk)
  virtual ElementType type() const = 0;    ///< of q, k, v and do (they must agree); result files: of o
  virtual const Specification& specification() const = 0;
  virtual const std::vector<DatasetInfo>& datasets() const = 0;  ///< the known ones that are there
  virtual bool has(TensorName name) const = 0;
  virtual bool has_order() const = 0;
  /// Attributes on "/" as text (numbers printed), name -> value in file order: what `info` shows of a result.
  virtual std::vector<std::pair<std::string, std::string>> attributes() const = 0;

  /// Tokens [begin, end) of a tensor, out: [B, end - begin, heads, D] (row scalars: [B, H, end - begin]), row-major, in the dataset's own type. Large
  /// contiguous slabs; collective over comm (each rank its own range, maybe empty).
  virtual void read(TensorName name, Range<SequenceIndex> tokens, std::span<std::byte> out) = 0;
  /// All of /order (position -> sequence index); collective.
  virtual std::vector<std::int64_t> read_order() = 0;
};

/// What a new case or result holds.
struct FileLayout {
  Shape shape;
  Specification specification;
  std::vector<std::pair<TensorName, ElementType>> datasets;  ///< created in this order
  bool has_order = false;
};

/// A case or result being written: everything goes to a file beside `path` (".NAME.partial"), which gets its name in `commit`. An object destroyed
/// without commit removes what it wrote. All calls collective over `comm`; with MPI_COMM_SELF serialised as above.
class FileWriter {
 public:
  /// Throws Error(kUsage) if `path` exists and not `overwrite`; Error(kFailure) if the directory can't be written.
  static std::unique_ptr<FileWriter> create(const std::string& path, const FileLayout& layout, bool overwrite, MPI_Comm comm);
  virtual ~FileWriter() = default;

  virtual void write(TensorName name, Range<SequenceIndex> tokens, std::span<const std::byte> rows) = 0;
  virtual void write_order(std::span<const std::int64_t> order) = 0;
  /// Attribute on "/"; a text that parses as a JSON number is stored as a number (int64 or float64), else as UTF-8 text. Where ranks bring
  /// different values (times), rank 0's is stored. Setting a name again replaces it.
  virtual void set_attribute(const std::string& name, const std::string& value) = 0;
  /// Computes and stores the SHA-256 of each dataset's bytes in file order, closes, syncs, renames. Returns the sums in the layout's order (on every
  /// rank).
  virtual std::vector<std::string> commit() = 0;
};

/// SHA-256 (hexadecimal) of a dataset's bytes in file order, read back in bounded pieces. Independent, not collective.
std::string dataset_sha256(CaseFile& file, TensorName name);

}  // namespace hilbertring
