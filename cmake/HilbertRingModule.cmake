# hilbertring_module(NAME SOURCES ... LIBRARIES ...): one library of the house, `HilbertRing::NAME`, with its warnings.
# FP contraction is off: a fused multiply-add happens only where the code asks for one, so that every instruction set gives the same bits.
function(hilbertring_compile_options target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion -Wshadow -ffp-contract=off
                                           $<$<BOOL:${HILBERTRING_WARNINGS_AS_ERRORS}>:-Werror>)
endfunction()

function(hilbertring_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  set(target hilbertring_${name})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(HilbertRing::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                                              $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/hilbertring>)
  target_link_libraries(${target} PUBLIC ${ARG_LIBRARIES})
  hilbertring_compile_options(${target})
endfunction()
