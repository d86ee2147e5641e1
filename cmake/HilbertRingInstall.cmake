# What `cmake --install` lays down: libraries, headers under include/hilbertring, the package for find_package(HilbertRing),
# and the environment module. The program: drivers/.
include(CMakePackageConfigHelpers)

set(package_directory ${CMAKE_INSTALL_LIBDIR}/cmake/HilbertRing)

set(installed_libraries hilbertring_core hilbertring_hilbert hilbertring_ring hilbertring_io)
if(HILBERTRING_HAS_CUDA)
  list(APPEND installed_libraries hilbertring_cuda)
endif()
install(TARGETS ${installed_libraries} EXPORT HilbertRingTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY core hilbert ring io DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hilbertring FILES_MATCHING PATTERN "*.h")
install(FILES hilbertring.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hilbertring)

install(EXPORT HilbertRingTargets NAMESPACE HilbertRing:: DESTINATION ${package_directory})
configure_package_config_file(cmake/HilbertRingConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/HilbertRingConfig.cmake INSTALL_DESTINATION ${package_directory})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/HilbertRingConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/HilbertRingConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/HilbertRingConfigVersion.cmake cmake/FindNCCL.cmake
        DESTINATION ${package_directory})

# Batch scripts and example tables, together: cluster/scale looks for its task beside itself.
install(PROGRAMS cluster/job.sh cluster/scale cluster/scale-task.sh DESTINATION ${CMAKE_INSTALL_DATADIR}/hilbertring/cluster)
install(FILES cluster/scaling.csv cluster/scaling-cpu.csv DESTINATION ${CMAKE_INSTALL_DATADIR}/hilbertring/cluster)

# The module file names the prefix, which is known only when `cmake --install` runs. It is written to its place at once and not by way of the build
# folder, where two installations at a time would meet.
install(CODE "
  get_filename_component(prefix \"\${CMAKE_INSTALL_PREFIX}\" ABSOLUTE)
  set(module_file \"\${prefix}/${CMAKE_INSTALL_DATADIR}/modulefiles/hilbertring/${PROJECT_VERSION}\")
  set(bindir \"${CMAKE_INSTALL_BINDIR}\")
  set(version \"${PROJECT_VERSION}\")
  set(description \"${PROJECT_DESCRIPTION}\")
  message(STATUS \"Installing: \$ENV{DESTDIR}\${module_file}\")
  configure_file(\"${PROJECT_SOURCE_DIR}/packaging/modulefile/hilbertring.in\" \"\$ENV{DESTDIR}\${module_file}\" @ONLY)
  list(APPEND CMAKE_INSTALL_MANIFEST_FILES \"\${module_file}\")
")
