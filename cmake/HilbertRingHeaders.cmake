# Target hilbertring_headers: each header of the house is compiled alone, so that none leans on what another has included. Not part of `all`.
file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} core/*.h hilbert/*.h ring/*.h io/*.h drivers/*.h tests/*.h bench/*.h hilbertring.h)
# These need CUDA's headers.
if(NOT HILBERTRING_HAS_CUDA)
  list(FILTER headers EXCLUDE REGEX "^core/cuda/")
endif()
if(NOT HILBERTRING_HAS_NCCL)
  list(FILTER headers EXCLUDE REGEX "^ring/nccl_communicator")
endif()
# Highway compiles these once for each instruction set, from inside a .cpp.
list(FILTER headers EXCLUDE REGEX "-inl\\.h$")

set(alone)
foreach(header ${headers})
  string(REPLACE "/" "_" name ${header})
  set(source ${CMAKE_CURRENT_BINARY_DIR}/headers/${name}.cpp)
  file(CONFIGURE OUTPUT ${source} CONTENT "#include \"@header@\"\n" @ONLY)
  list(APPEND alone ${source})
endforeach()

add_library(hilbertring_headers OBJECT EXCLUDE_FROM_ALL ${alone})
target_link_libraries(hilbertring_headers PRIVATE hilbertring_ring hilbertring_io Boost::program_options)
if(HILBERTRING_HAS_CUDA)
  target_link_libraries(hilbertring_headers PRIVATE hilbertring_cuda)
endif()
if(HILBERTRING_HAS_NCCL)
  target_link_libraries(hilbertring_headers PRIVATE NCCL::NCCL)
endif()
if(HILBERTRING_TESTS)
  target_link_libraries(hilbertring_headers PRIVATE GTest::gtest)
  target_include_directories(hilbertring_headers PRIVATE ${PROJECT_BINARY_DIR}/tests/drivers)  # program_path.h
endif()
hilbertring_compile_options(hilbertring_headers)
