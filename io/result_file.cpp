#include <algorithm>
#include <optional>

#include "io/agreement.h"
#include "io/attributes.h"
#include "io/case_file.h"
#include "io/checksum.h"
#include "io/dataset_shape.h"
#include "io/files.h"
#include "io/float_types.h"
#include "io/hdf5_access.h"
#include "io/removed_on_signal.h"
#include "io/slabs.h"

namespace hilbertring {
namespace {

/// What HDF5 itself writes beside the data: superblock, object headers, attributes, and one page of alignment per dataset.
constexpr std::int64_t kMetadataBytes = std::int64_t{256} << 10;

std::int64_t layout_bytes(const FileLayout& layout) {
  std::int64_t total = kMetadataBytes + (layout.has_order ? layout.shape.tokens * 8 : 0);
  for (const auto& [name, type] : layout.datasets) total += num_elements(dataset_shape(name, layout.shape)) * size_bytes(type);
  return total;
}

void check_layout(const FileLayout& layout) {
  layout.shape.validate();
  layout.specification.validate(layout.shape);
  for (auto dataset = layout.datasets.begin(); dataset != layout.datasets.end(); ++dataset) {
    const std::string name(to_string(dataset->first));
    const auto is_same = [&](const auto& other) { return other.first == dataset->first; };
    if (std::any_of(layout.datasets.begin(), dataset, is_same)) throw usage_error("file layout: dataset '" + name + "' is named twice");
  }
}

class Hdf5FileWriter final : public FileWriter {
 public:
  Hdf5FileWriter(const std::string& path, const FileLayout& layout, bool overwrite, MPI_Comm comm)
      : path_(path), layout_(layout), overwrite_(overwrite), ranks_(comm) {}

  ~Hdf5FileWriter() override {
    if (is_committed_) return;
    const Hdf5Session session;
    if (is_partial_there_) remove_partial_file(path_);
    const bool may_be_alone = unwinding_.is_under_way() && !has_failed_together_;
    if (ranks_.is_parallel() && may_be_alone) {
      file_.release();  // closing is collective, and the others may never come; the name is gone already
    }
    close();
  }

  /// Collective. Apart from the constructor so that the destructor cleans up after a failure.
  void start() {
    together([&] {
      ranks_.collectively([&] { check_layout(layout_); });
      removed_on_signal_.emplace(partial_path(path_));
      ranks_.on_first_rank([&] { prepare_partial_file(path_, overwrite_, layout_bytes(layout_)); });
      is_partial_there_ = true;
      ranks_.collectively([&] { create_file(); });
      // Before HDF5 owes the disk anything but a superblock: once it can't write what it holds, it can't be closed in good order either.
      ranks_.on_first_rank([&] { reserve_partial_file(path_, layout_bytes(layout_)); });
      ranks_.collectively([&] { create_contents(); });
    });
  }

  void write(TensorName name, Range<SequenceIndex> tokens, std::span<const std::byte> rows) override {
    const Hdf5Session session;
    const std::string what = path_ + ": '/" + std::string(to_string(name)) + "'";
    together([&] {
      SlabTarget target;
      Slab slab;
      DatatypeHandle type;
      ranks_.collectively([&] {
        const std::size_t index = index_of(name, what);
        const ElementType element = layout_.datasets[index].second;
        type = memory_type(element);
        target = {datasets_[index].get(), type.get(), size_bytes(element), what};
        slab = token_slab(name, dataset_shape(name, layout_.shape), tokens, target.element_bytes, rows.size(), what);
      });
      write_slab(ranks_, target, slab, rows);
    });
  }

  void write_order(std::span<const std::int64_t> order) override {
    const Hdf5Session session;
    const std::string what = path_ + ": '/order'";
    together([&] {
      ranks_.collectively([&] { check_order_size(order, what); });
      // Everybody has all of it; the first rank alone writes.
      const std::size_t count = ranks_.rank() == 0 ? order.size() : 0;
      write_slab(ranks_, {order_.get(), H5T_NATIVE_INT64, sizeof(std::int64_t), what}, {{0}, {count}}, std::as_bytes(order));
    });
  }

  void set_attribute(const std::string& name, const std::string& value) override {
    const Hdf5Session session;
    together([&] {
      // Metadata must be the same on all ranks, or the file breaks; times, for one, are not.
      const std::string agreed_name = ranks_.broadcast(name, 0);
      const std::string agreed_value = ranks_.broadcast(value, 0);
      ranks_.collectively([&] { write_attribute(file_.get(), agreed_name, agreed_value); });
    });
  }

  std::vector<std::string> commit() override {
    const Hdf5Session session;
    std::vector<std::string> sums;
    together([&] {
      flush();
      sums = checksums();
      ranks_.collectively([&] {
        for (std::size_t i = 0; i < sums.size(); ++i) write_text_attribute(datasets_[i].get(), "sha256", sums[i]);
      });
      ranks_.collectively([&] { checked(close(), ErrorKind::kFailure, path_ + ": can't be completed"); });
      ranks_.on_first_rank([&] { publish_partial_file(path_, overwrite_); });
    });
    removed_on_signal_.reset();
    is_committed_ = true;
    return sums;
  }

 private:
  /// Notes that an error which leaves `step` is thrown by all ranks, so that the destructor may still close collectively.
  template <class Step>
  void together(Step step) {
    try {
      step();
    } catch (...) {
      has_failed_together_ = true;
      throw;
    }
  }

  void create_file() {
    const auto check = [&](hid_t id) { return checked(id, ErrorKind::kFailure, path_ + ": can't be created"); };
    const PropertyHandle access = writing_access_properties(ranks_);
    const PropertyHandle creation = creation_properties();
    file_ = FileHandle(check(H5Fcreate(partial_path(path_).c_str(), H5F_ACC_TRUNC, creation.get(), access.get())));
  }

  void create_contents() {
    write_text_attribute(file_.get(), "spec", to_json(layout_.specification));
    for (const auto& [name, type] : layout_.datasets) {
      const DatatypeHandle datatype = stored_type(type);
      datasets_.push_back(create_dataset(std::string(to_string(name)), datatype.get(), dataset_shape(name, layout_.shape)));
    }
    if (layout_.has_order) order_ = create_dataset("order", H5T_STD_I64LE, {layout_.shape.tokens});
    // Its own blocks are on disk before the data comes: should the data meet a full disk after all, the file can still be closed.
    checked(H5Fflush(file_.get(), H5F_SCOPE_GLOBAL), ErrorKind::kFailure, path_ + ": can't be written");
  }

  DatasetHandle create_dataset(const std::string& name, hid_t datatype, const std::vector<std::int64_t>& shape) {
    const auto check = [&](hid_t id) { return checked(id, ErrorKind::kFailure, path_ + ": can't create '/" + name + "'"); };
    const std::vector<hsize_t> sizes(shape.begin(), shape.end());
    const DataspaceHandle space(check(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr)));
    const PropertyHandle creation = dataset_properties();
    return DatasetHandle(check(H5Dcreate2(file_.get(), name.c_str(), datatype, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT)));
  }

  std::size_t index_of(TensorName name, const std::string& what) const {
    for (std::size_t i = 0; i < datasets_.size(); ++i) {
      if (layout_.datasets[i].first == name) return i;
    }
    throw usage_error(what + " is not in the layout of this file");
  }

  void check_order_size(std::span<const std::int64_t> order, const std::string& what) const {
    if (order_.get() < 0) throw usage_error(what + " is not in the layout of this file");
    if (static_cast<std::int64_t>(order.size()) == layout_.shape.tokens) return;
    throw usage_error(what + ": " + std::to_string(order.size()) + " entries for " + std::to_string(layout_.shape.tokens) + " tokens");
  }

  void flush() {
    ranks_.collectively([&] { checked(H5Fflush(file_.get(), H5F_SCOPE_GLOBAL), ErrorKind::kFailure, path_ + ": can't be written"); });
  }

  /// Deals the datasets over the ranks, each reads its own back; the sums are on every rank.
  std::vector<std::string> checksums() {
    std::vector<std::string> sums(datasets_.size());
    const auto num_ranks = static_cast<std::size_t>(ranks_.size());
    ranks_.collectively([&] {
      for (auto i = static_cast<std::size_t>(ranks_.rank()); i < sums.size(); i += num_ranks) sums[i] = checksum(i);
    });
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = ranks_.broadcast(sums[i], static_cast<int>(i % num_ranks));
    return sums;
  }

  std::string checksum(std::size_t index) const {
    const auto& [name, type] = layout_.datasets[index];
    const haddr_t offset = H5Dget_offset(datasets_[index].get());
    if (offset == HADDR_UNDEF) throw Error(ErrorKind::kFailure, "HDF5", path_ + ": '/" + std::string(to_string(name)) + "' has no place in the file");
    const std::int64_t num_bytes = num_elements(dataset_shape(name, layout_.shape)) * size_bytes(type);
    return file_range_sha256(partial_path(path_), static_cast<std::int64_t>(offset), num_bytes);
  }

  herr_t close() {
    datasets_.clear();
    order_.close();
    return file_.close();
  }

  Unwinding unwinding_;
  std::string path_;
  FileLayout layout_;
  bool overwrite_;
  FileRanks ranks_;
  FileHandle file_;
  std::vector<DatasetHandle> datasets_;  ///< as in the layout
  DatasetHandle order_;
  std::optional<RemovedOnSignal> removed_on_signal_;  ///< the partial file
  bool is_partial_there_ = false;
  bool has_failed_together_ = false;
  bool is_committed_ = false;
};

}  // namespace

std::unique_ptr<FileWriter> FileWriter::create(const std::string& path, const FileLayout& layout, bool overwrite, MPI_Comm comm) {
  const Hdf5Session session;
  auto writer = std::make_unique<Hdf5FileWriter>(path, layout, overwrite, comm);
  writer->start();
  return writer;
}

}  // namespace hilbertring
