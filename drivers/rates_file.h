#pragma once

#include <optional>
#include <string>

#include "drivers/options.h"
#include "ring/problem.h"
#include "ring/rates.h"

namespace hilbertring {

/// Rates and where they come from: docs/FORMAT.md, "Rates".
struct RatesFile {
  std::string path;  ///< as it was given
  Rates rates;
  std::string note;  ///< for people
  std::string program_version, build;
  std::string machine, device, transport;  ///< on which, and over which, they were measured
};

/// Throws Error(kInput), "PATH: ...", if it can't be read or is not what it must be.
RatesFile read_rates(const std::string& path);
/// JSON text, ended.
std::string to_json(const RatesFile& file);

/// --rates and --rates-anyway, for commands that predict times.
OptionGroup rates_options();
/// The file of --rates, if it is given. Throws usage_error for --rates-anyway alone.
std::optional<RatesFile> rates_from(const Arguments& arguments);
/// Throws usage_error, unless --rates-anyway, if the rates were measured with another backend, type, head dimension or number of threads.
void require_rates_for(const RatesFile& file, const Problem& problem, Backend backend, int num_threads, const Arguments& arguments);

}  // namespace hilbertring
