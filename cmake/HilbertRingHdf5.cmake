# PkgConfig::hdf5: a parallel HDF5. Debian keeps several builds side by side, the one for Open MPI as `hdf5-openmpi`; elsewhere the name is `hdf5`,
# whether the build is parallel or not.
pkg_search_module(hdf5 QUIET IMPORTED_TARGET hdf5-openmpi hdf5)
if(NOT hdf5_FOUND)
  message(FATAL_ERROR "pkg-config finds no HDF5, neither as hdf5-openmpi nor as hdf5: PKG_CONFIG_PATH can name the folder of hdf5.pc")
endif()

include(CheckSymbolExists)
set(CMAKE_REQUIRED_LIBRARIES PkgConfig::hdf5 MPI::MPI_C)
check_symbol_exists(H5_HAVE_PARALLEL H5public.h HILBERTRING_HDF5_IS_PARALLEL)
unset(CMAKE_REQUIRED_LIBRARIES)
if(NOT HILBERTRING_HDF5_IS_PARALLEL)
  # Not kept: the next try may find another HDF5.
  unset(HILBERTRING_HDF5_IS_PARALLEL CACHE)
  message(FATAL_ERROR "HDF5 ${hdf5_VERSION} (${hdf5_MODULE_NAME}.pc in ${hdf5_PREFIX}) is not a parallel build: HilbertRing needs HDF5 with MPI")
endif()
