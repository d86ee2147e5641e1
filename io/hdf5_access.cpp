#include "io/hdf5_access.h"

namespace hilbertring {
namespace {

constexpr hsize_t kAlignFromBytes = hsize_t{1} << 20;
constexpr hsize_t kAlignmentBytes = 4096;
/// All that HDF5 writes for itself lies together, and most of it has its place before the data comes.
constexpr hsize_t kMetadataBlockBytes = hsize_t{1} << 15;

}  // namespace

PropertyHandle access_properties(const FileRanks& ranks) {
  const auto check = [](herr_t status) { checked(status, ErrorKind::kFailure, "can't set the file access"); };
  PropertyHandle properties = make_properties(H5P_FILE_ACCESS);
  check(H5Pset_alignment(properties.get(), kAlignFromBytes, kAlignmentBytes));
  check(H5Pset_meta_block_size(properties.get(), kMetadataBlockBytes));
  if (!ranks.is_parallel()) return properties;
  check(H5Pset_fapl_mpio(properties.get(), ranks.comm(), MPI_INFO_NULL));
  check(H5Pset_coll_metadata_write(properties.get(), true));
  return properties;
}

PropertyHandle writing_access_properties(const FileRanks& ranks) {
  PropertyHandle properties = access_properties(ranks);
  // The oldest format that serves, whatever release of HDF5 writes: equal contents are equal bytes.
  checked(H5Pset_libver_bounds(properties.get(), H5F_LIBVER_EARLIEST, H5F_LIBVER_V18), ErrorKind::kFailure, "can't set the file format");
  return properties;
}

PropertyHandle creation_properties() {
  const auto check = [](herr_t status) { checked(status, ErrorKind::kFailure, "can't set the file creation"); };
  PropertyHandle properties = make_properties(H5P_FILE_CREATE);
  check(H5Pset_obj_track_times(properties.get(), false));
  check(H5Pset_link_creation_order(properties.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED));
  check(H5Pset_attr_creation_order(properties.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED));
  // All attributes stay in the object header: its switch to a B-tree (from 8 on) fails in older HDF5 when the order of creation is tracked.
  check(H5Pset_attr_phase_change(properties.get(), 4096, 0));
  return properties;
}

PropertyHandle dataset_properties() {
  const auto check = [](herr_t status) { checked(status, ErrorKind::kFailure, "can't set the dataset creation"); };
  PropertyHandle properties = make_properties(H5P_DATASET_CREATE);
  check(H5Pset_obj_track_times(properties.get(), false));
  check(H5Pset_layout(properties.get(), H5D_CONTIGUOUS));
  check(H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY));
  check(H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER));
  return properties;
}

}  // namespace hilbertring
