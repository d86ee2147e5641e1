# What `cmake --install` lays down: libraries, headers under include/hilbertring, and the package for find_package(HilbertRing). The program: drivers/.
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
