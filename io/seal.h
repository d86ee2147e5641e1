#pragma once

#include <string>

namespace hilbertring {

/// Ends a complete HDF5 file with a line of text, which HDF5 does not look at: the SHA-256 of all bytes but those of datasets, which have sums of
/// their own. So damage to HDF5's own blocks, and to what attributes say, is known before HDF5 reads them: it would take a wrong number for a right
/// one, and some releases crash. Independent. Throws Error(kFailure).
void seal_file(const std::string& path);

/// Throws input_error unless the file ends with a seal, and the bytes before it are those that were sealed. Independent.
void require_seal(const std::string& path);

}  // namespace hilbertring
