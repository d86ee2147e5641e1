#include "io/case_file.h"

#include <algorithm>

#include "io/agreement.h"
#include "io/case_inspection.h"
#include "io/dataset_shape.h"
#include "io/float_types.h"
#include "io/hdf5_access.h"
#include "io/slabs.h"

namespace hilbertring {
namespace {

class Hdf5CaseFile final : public CaseFile {
 public:
  Hdf5CaseFile(const std::string& path, MPI_Comm comm) : path_(path), ranks_(comm) {
    ranks_.on_first_rank([&] { probe_file(path_); });
    ranks_.collectively([&] {
      const PropertyHandle access = access_properties(ranks_);
      file_ = FileHandle(checked(H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access.get()), ErrorKind::kInput, path_ + ": can't be opened"));
    });
    ranks_.collectively([&] {
      contents_ = inspect_case(file_.get(), path_);
      for (const FoundDataset& dataset : contents_.datasets) infos_.push_back(dataset.info);
    });
  }

  ~Hdf5CaseFile() override {
    const Hdf5Session session;
    contents_ = {};
    // Closing is collective: a rank that leaves by an exception of its own must not wait for others that may never come.
    if (ranks_.is_parallel() && unwinding_.is_under_way()) file_.release();
    file_.close();
  }

  const std::string& path() const override { return path_; }
  const Shape& shape() const override { return contents_.shape; }
  ElementType type() const override { return contents_.type; }
  const Specification& specification() const override { return contents_.specification; }
  const std::vector<DatasetInfo>& datasets() const override { return infos_; }
  bool has(TensorName name) const override { return find(name) != nullptr; }
  bool has_order() const override { return contents_.order.get() >= 0; }
  std::vector<std::pair<std::string, std::string>> attributes() const override { return contents_.attributes; }

  void read(TensorName name, Range<SequenceIndex> tokens, std::span<std::byte> out) override {
    const Hdf5Session session;
    const std::string what = path_ + ": '/" + std::string(to_string(name)) + "'";
    SlabTarget target;
    Slab slab;
    DatatypeHandle type;
    ranks_.collectively([&] {
      const FoundDataset* dataset = find(name);
      if (dataset == nullptr) throw input_error(what + " is missing");
      type = memory_type(dataset->info.type);
      target = {dataset->handle.get(), type.get(), size_bytes(dataset->info.type), what};
      slab = token_slab(name, dataset->info.shape, tokens, target.element_bytes, out.size(), what);
    });
    read_slab(ranks_, target, slab, out);
  }

  std::vector<std::int64_t> read_order() override {
    const Hdf5Session session;
    const std::string what = path_ + ": '/order'";
    if (!has_order()) throw input_error(what + " is missing");
    std::vector<std::int64_t> order(static_cast<std::size_t>(contents_.shape.tokens));
    const SlabTarget target{contents_.order.get(), H5T_NATIVE_INT64, sizeof(std::int64_t), what};
    read_slab(ranks_, target, {{0}, {order.size()}}, std::as_writable_bytes(std::span(order)));
    return order;
  }

 private:
  const FoundDataset* find(TensorName name) const {
    const auto is_it = [&](const FoundDataset& dataset) { return dataset.info.name == name; };
    const auto found = std::find_if(contents_.datasets.begin(), contents_.datasets.end(), is_it);
    return found == contents_.datasets.end() ? nullptr : &*found;
  }

  Unwinding unwinding_;
  std::string path_;
  FileRanks ranks_;
  FileHandle file_;
  CaseContents contents_;
  std::vector<DatasetInfo> infos_;
};

}  // namespace

std::unique_ptr<CaseFile> CaseFile::open(const std::string& path, MPI_Comm comm) {
  const Hdf5Session session;
  return std::make_unique<Hdf5CaseFile>(path, comm);
}

}  // namespace hilbertring
