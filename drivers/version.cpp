#include "drivers/version.h"

#include <mpi.h>

#include <array>

#include "core/cpu/cpu_attention.h"
#include "drivers/build_info.h"
#include "drivers/text_table.h"

namespace hilbertring {

namespace {

/// The first words of what the MPI library says of itself, up to the first comma.
std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  const std::string whole(text.data(), static_cast<std::size_t>(length));
  return whole.substr(0, whole.find_first_of(",\n"));
}

std::string instruction_sets() {
  std::string text;
  for (const std::string& name : cpu_instruction_sets()) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

std::string program_version() {
  const std::string commit = kCommit;
  return kVersion + (commit.empty() ? "" : " (" + commit + ")");
}

std::string build_description() { return std::string(kCompiler) + ", " + kBuildType; }

std::string version_text() {
  TextTable table = name_value_table();
  table.add_row({"build", build_description()});
  table.add_row({"MPI", mpi_version()});
  table.add_row({"HDF5", kHdf5Version});
  table.add_row({"Highway", kHighwayVersion});
  table.add_row({"Boost", kBoostVersion});
  table.add_row({"CPU kernels", instruction_sets()});
  return "hilbertring " + program_version() + "\n" + table.to_text(2);
}

}  // namespace hilbertring
