#pragma once

#include <string>

namespace hilbertring {

/// "0.1.0 (1a2b3c4)": the project's version, and the commit if it was built from a git checkout.
std::string program_version();
/// "g++ 12.2.0, Release": compiler and build type.
std::string build_description();
/// What --version prints: version, build, libraries, kernels.
std::string version_text();

}  // namespace hilbertring
