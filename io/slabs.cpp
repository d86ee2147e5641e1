#include "io/slabs.h"

#include <algorithm>
#include <numeric>

namespace hilbertring {
namespace {

PropertyHandle transfer_properties(const FileRanks& ranks) {
  PropertyHandle properties = make_properties(H5P_DATASET_XFER);
  if (!ranks.is_parallel()) return properties;
  const std::string what = "can't ask for collective transfers";
  checked(H5Pset_dxpl_mpio(properties.get(), H5FD_MPIO_COLLECTIVE), ErrorKind::kFailure, what);
  // A rank's slab is long and contiguous already: gathering it at an aggregator first, as two-phase I/O does, would only copy it once more.
  checked(H5Pset_dxpl_mpio_collective_opt(properties.get(), H5FD_MPIO_INDIVIDUAL_IO), ErrorKind::kFailure, what);
  return properties;
}

/// Dataspaces of one transfer, in the file and in memory; an empty selection for a rank that has no piece left.
struct Selection {
  DataspaceHandle file;
  DataspaceHandle memory;
};

Selection select(hid_t dataset, const Slab* piece, const std::string& what) {
  const auto check = [&](auto status) { return checked(status, ErrorKind::kFailure, what + ": can't select a slab"); };
  const hsize_t num_elements = piece == nullptr ? 1 : static_cast<hsize_t>(piece->num_elements());
  Selection selection{DataspaceHandle(check(H5Dget_space(dataset))), DataspaceHandle(check(H5Screate_simple(1, &num_elements, nullptr)))};
  if (piece != nullptr) {
    check(H5Sselect_hyperslab(selection.file.get(), H5S_SELECT_SET, piece->start.data(), nullptr, piece->count.data(), nullptr));
  } else {
    check(H5Sselect_none(selection.file.get()));
    check(H5Sselect_none(selection.memory.get()));
  }
  return selection;
}

/// Calls transfer(selection, properties, byte offset in the buffer) once per round, on every rank equally often.
template <class Transfer>
void in_rounds(const FileRanks& ranks, const SlabTarget& target, const Slab& slab, Transfer transfer) {
  std::vector<Slab> pieces;
  visit_pieces(slab, target.element_bytes, kMaxTransferBytes, [&](const Slab& piece) { pieces.push_back(piece); });
  const auto num_pieces = static_cast<std::int64_t>(pieces.size());
  const std::int64_t num_rounds = ranks.max(num_pieces);
  const PropertyHandle properties = transfer_properties(ranks);
  std::optional<Error> first_error;
  std::int64_t offset = 0;
  for (std::int64_t round = 0; round < num_rounds; ++round) {
    const Slab* piece = round < num_pieces ? &pieces[static_cast<std::size_t>(round)] : nullptr;
    const auto error = error_of([&] { transfer(select(target.dataset, piece, target.what), properties.get(), offset); });
    if (error && !first_error) first_error = error;
    if (piece != nullptr) offset += piece->num_elements() * target.element_bytes;
  }
  ranks.agree(first_error);
}

}  // namespace

std::int64_t Slab::num_elements() const {
  return static_cast<std::int64_t>(std::accumulate(count.begin(), count.end(), hsize_t{1}, std::multiplies<>()));
}

void visit_pieces(const Slab& slab, std::int64_t element_bytes, std::int64_t max_bytes, const std::function<void(const Slab&)>& visit) {
  if (slab.num_elements() == 0) return;
  const auto outermost = std::find_if(slab.count.begin(), slab.count.end(), [](hsize_t count) { return count > 1; });
  if (slab.num_elements() * element_bytes <= max_bytes || outermost == slab.count.end()) return visit(slab);
  // Only the outermost dimension that still has extent may be cut: cutting an inner one would leave pieces that are strided in memory.
  const auto dimension = static_cast<std::size_t>(outermost - slab.count.begin());
  Slab first = slab;
  Slab second = slab;
  first.count[dimension] = slab.count[dimension] / 2;
  second.start[dimension] += first.count[dimension];
  second.count[dimension] -= first.count[dimension];
  visit_pieces(first, element_bytes, max_bytes, visit);
  visit_pieces(second, element_bytes, max_bytes, visit);
}

void read_slab(const FileRanks& ranks, const SlabTarget& target, const Slab& slab, std::span<std::byte> out) {
  in_rounds(ranks, target, slab, [&](const Selection& selection, hid_t properties, std::int64_t offset) {
    checked(H5Dread(target.dataset, target.memory_type, selection.memory.get(), selection.file.get(), properties, out.data() + offset),
            ErrorKind::kInput, target.what + ": can't be read");
  });
}

void write_slab(const FileRanks& ranks, const SlabTarget& target, const Slab& slab, std::span<const std::byte> in) {
  in_rounds(ranks, target, slab, [&](const Selection& selection, hid_t properties, std::int64_t offset) {
    checked(H5Dwrite(target.dataset, target.memory_type, selection.memory.get(), selection.file.get(), properties, in.data() + offset),
            ErrorKind::kFailure, target.what + ": can't be written");
  });
}

}  // namespace hilbertring
