#include "io/case_inspection.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "io/agreement.h"
#include "io/attributes.h"
#include "io/dataset_shape.h"
#include "io/float_types.h"

namespace hilbertring {
namespace {

std::string quoted(TensorName name) { return "'/" + std::string(to_string(name)) + "'"; }

const DatasetInfo* find(const CaseContents& contents, TensorName name) {
  for (const FoundDataset& dataset : contents.datasets) {
    if (dataset.info.name == name) return &dataset.info;
  }
  return nullptr;
}

/// A null handle if there is no link of that name.
DatasetHandle open_dataset(hid_t file, const std::string& name, const std::string& what) {
  if (checked(H5Lexists(file, name.c_str(), H5P_DEFAULT), ErrorKind::kInput, what + ": can't be looked for") == 0) return {};
  ObjectHandle object(checked(H5Oopen(file, name.c_str(), H5P_DEFAULT), ErrorKind::kInput, what + ": can't be opened"));
  if (H5Iget_type(object.get()) != H5I_DATASET) throw input_error(what + " is not a dataset");
  return DatasetHandle(object.release());
}

DatatypeHandle datatype_of(const DatasetHandle& dataset, const std::string& what) {
  return DatatypeHandle(checked(H5Dget_type(dataset.get()), ErrorKind::kInput, what + ": can't read its type"));
}

std::vector<std::int64_t> shape_of(const DatasetHandle& dataset, const std::string& what) {
  const auto check = [&](auto status) { return checked(status, ErrorKind::kInput, what + ": can't read its shape"); };
  const DataspaceHandle space(check(H5Dget_space(dataset.get())));
  if (H5Sget_simple_extent_type(space.get()) == H5S_NULL) throw input_error(what + " is null: it has no elements");
  std::vector<hsize_t> sizes(static_cast<std::size_t>(check(H5Sget_simple_extent_ndims(space.get()))));
  check(H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr));
  return {sizes.begin(), sizes.end()};
}

ElementType float_type_of(const DatasetHandle& dataset, TensorName name, const std::string& what) {
  const DatatypeHandle datatype = datatype_of(dataset, what);
  const auto type = element_type_of(datatype.get());
  if (!type) throw input_error(what + " has type " + describe_type(datatype.get()) + "; it must be float16, bfloat16, float32 or float64");
  const bool is_half = *type == ElementType::kFloat16 || *type == ElementType::kBfloat16;
  if (is_row_scalar(name) && is_half) {
    throw input_error(what + " has type " + std::string(to_string(*type)) + "; it must be float32 or float64");
  }
  return *type;
}

std::optional<FoundDataset> find_dataset(hid_t file, TensorName name, const std::string& path) {
  const std::string what = path + ": " + quoted(name);
  DatasetHandle handle = open_dataset(file, std::string(to_string(name)), what);
  if (handle.get() < 0) return std::nullopt;
  DatasetInfo info{name, float_type_of(handle, name, what), shape_of(handle, what), read_text_attribute(handle.get(), "sha256", what)};
  const bool is_scalar = is_row_scalar(name);
  if (info.shape.size() != (is_scalar ? 3 : 4)) {
    throw input_error(what + " has shape " + print_shape(info.shape) + "; it must have " +
                      (is_scalar ? "3 dimensions, [B, H, N]" : "4 dimensions, [B, N, heads, D]"));
  }
  return FoundDataset{std::move(info), std::move(handle)};
}

void require_datasets(const CaseContents& contents, const std::string& path) {
  const bool is_case = find(contents, TensorName::kQ) || find(contents, TensorName::kK) || find(contents, TensorName::kV);
  if (!is_case && find(contents, TensorName::kO) != nullptr) return;
  for (const TensorName name : {TensorName::kQ, TensorName::kK, TensorName::kV}) {
    if (find(contents, name) == nullptr) throw input_error(path + ": dataset " + quoted(name) + " is missing");
  }
}

/// Sizes as q (or o) and k (or a gradient of it) state them; without any of the latter, as many KV heads as heads.
Shape shape_from(const CaseContents& contents) {
  const DatasetInfo* queries = find(contents, TensorName::kQ);
  if (queries == nullptr) queries = find(contents, TensorName::kO);
  const std::vector<std::int64_t>& q = queries->shape;
  std::int64_t kv_heads = q[2];
  for (const TensorName name : {TensorName::kDv, TensorName::kDk, TensorName::kK}) {
    if (const DatasetInfo* keys = find(contents, name)) kv_heads = keys->shape[2];
  }
  return {q[0], q[1], q[2], kv_heads, q[3]};
}

void check_shapes(const CaseContents& contents, const std::string& path) {
  const TensorName source = find(contents, TensorName::kQ) != nullptr ? TensorName::kQ : TensorName::kO;
  for (const FoundDataset& dataset : contents.datasets) {
    const auto expected = dataset_shape(dataset.info.name, contents.shape);
    if (dataset.info.shape == expected) continue;
    const bool is_kv = expected[2] == contents.shape.kv_heads && dataset_shape(TensorName::kK, contents.shape) == expected;
    const bool follows_k = is_kv && dataset.info.name != TensorName::kK && find(contents, TensorName::kK) != nullptr;
    throw input_error(path + ": " + quoted(dataset.info.name) + " has shape " + print_shape(dataset.info.shape) + "; with " + quoted(source) +
                      (follows_k ? " and '/k'" : "") + " as they are it must be " + print_shape(expected));
  }
  const auto invalid = error_of([&] { contents.shape.validate(); });
  if (invalid) throw input_error(path + ": " + invalid->what());
}

void check_types(const CaseContents& contents, const std::string& path) {
  const DatasetInfo* q = find(contents, TensorName::kQ);
  if (q == nullptr) return;
  for (const TensorName name : {TensorName::kK, TensorName::kV, TensorName::kDo}) {
    const DatasetInfo* other = find(contents, name);
    if (other == nullptr || other->type == q->type) continue;
    throw input_error(path + ": " + quoted(name) + " has type " + std::string(to_string(other->type)) + ", but '/q' has " +
                      std::string(to_string(q->type)) + "; q, k, v and do must be of one type");
  }
}

DatasetHandle find_order(hid_t file, const Shape& shape, const std::string& path) {
  const std::string what = path + ": '/order'";
  DatasetHandle order = open_dataset(file, "order", what);
  if (order.get() < 0) return order;
  const DatatypeHandle datatype = datatype_of(order, what);
  if (!is_int64(datatype.get())) throw input_error(what + " has type " + describe_type(datatype.get()) + "; it must be a 64-bit signed integer");
  const auto sizes = shape_of(order, what);
  if (sizes != std::vector{shape.tokens}) {
    throw input_error(what + " has shape " + print_shape(sizes) + "; it must be [" + std::to_string(shape.tokens) + "], one entry per token");
  }
  return order;
}

/// JSON may come with line breaks, and the message about it quote them.
std::string on_one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' '; }, ' ');
  return text;
}

Specification read_specification(hid_t file, const Shape& shape, const std::string& path) {
  const auto text = read_text_attribute(file, "spec", path);
  if (!text) throw input_error(path + ": attribute 'spec' is missing; it must hold the specification as JSON");
  Specification specification;
  const auto invalid = error_of([&] {
    specification = specification_from_json(*text);
    specification.validate(shape);
  });
  if (invalid) throw input_error(path + ": attribute 'spec': " + on_one_line(invalid->what()));
  return specification;
}

}  // namespace

void probe_file(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) throw input_error(path + ": can't be read: " + std::strerror(errno));
  if (!S_ISREG(status.st_mode)) throw input_error(path + ": is no regular file; it must be an HDF5 file");
  if (access(path.c_str(), R_OK) != 0) throw input_error(path + ": can't be read: " + std::strerror(errno));
  if (status.st_size == 0) throw input_error(path + ": is empty; it must be an HDF5 file");
  if (H5Fis_hdf5(path.c_str()) <= 0) throw input_error(path + ": is not an HDF5 file (the signature is missing)");
  const FileHandle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT));
  if (file.get() >= 0) return;
  const std::string reason = hdf5_error_text();
  if (reason.find("truncated") == std::string::npos) throw Error(ErrorKind::kInput, "HDF5", path + ": can't be opened (" + reason + ")");
  throw Error(ErrorKind::kInput, "HDF5", path + ": is truncated at " + std::to_string(status.st_size) + " bytes (" + reason + ")");
}

CaseContents inspect_case(hid_t file, const std::string& path) {
  CaseContents contents;
  for (const TensorName name : kTensorNames) {
    if (auto dataset = find_dataset(file, name, path)) contents.datasets.push_back(std::move(*dataset));
  }
  require_datasets(contents, path);
  contents.shape = shape_from(contents);
  check_shapes(contents, path);
  check_types(contents, path);
  const bool is_case = find(contents, TensorName::kQ) != nullptr;
  contents.type = find(contents, is_case ? TensorName::kQ : TensorName::kO)->type;
  contents.order = find_order(file, contents.shape, path);
  contents.specification = read_specification(file, contents.shape, path);
  contents.attributes = read_attributes(file, path);
  return contents;
}

}  // namespace hilbertring
