#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "drivers/suite_manifest.h"

namespace hilbertring {

/// Makes the whole set beside `directory`, then gives it its name. All in this process, on all its threads. `progress` hears of each case. Throws
/// usage_error if there is something in `directory`, unless `may_replace` and it is a regression set; failure if it can't be written: then nothing is
/// left behind.
SuiteManifest write_suite(const std::string& directory, bool may_replace, const std::function<void(std::int64_t done, std::int64_t total)>& progress);

}  // namespace hilbertring
