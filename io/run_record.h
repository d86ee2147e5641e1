#pragma once

#include <string>

namespace hilbertring {

/// Appends a JSON object as one line to the file, which is created if need be: a record per run, one write each, so that records of jobs that end at
/// the same time stay whole. Call it on one rank. Throws usage_error if `json` is no JSON object, failure if it can't be written.
void append_record(const std::string& path, const std::string& json);
/// Before what is to be recorded has taken its time: throws failure if the file can't be written to, or be created. Leaves nothing.
void require_record_file(const std::string& path);

}  // namespace hilbertring
