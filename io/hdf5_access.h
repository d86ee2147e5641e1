#pragma once

#include "io/agreement.h"
#include "io/hdf5_handles.h"

namespace hilbertring {

/// File access for these ranks: MPI-IO for several, HDF5's default driver for one. Large datasets begin on a page.
PropertyHandle access_properties(const FileRanks& ranks);
/// Likewise for a new file, in a format that does not depend on the release of HDF5.
PropertyHandle writing_access_properties(const FileRanks& ranks);
/// A root group that keeps its attributes and datasets in the order of their creation, without times.
PropertyHandle creation_properties();
/// Contiguous, without times, with its place in the file from the start and nothing written there but the data.
PropertyHandle dataset_properties();

}  // namespace hilbertring
