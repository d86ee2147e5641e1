#include "io/run_record.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/files.h"

namespace hilbertring {

void append_record(const std::string& path, const std::string& json) {
  const auto record = nlohmann::ordered_json::parse(json, nullptr, false);
  if (!record.is_object()) throw usage_error("run record for " + path + ": it must be a JSON object, but it is: " + json.substr(0, 80));
  const std::string line = record.dump() + "\n";
  const FileDescriptor file = open_descriptor(path, O_WRONLY | O_CREAT | O_APPEND);
  const ssize_t written = ::write(file.get(), line.data(), line.size());
  if (written == static_cast<ssize_t>(line.size())) return;
  throw failure(path + ": can't append a run record: " + (written < 0 ? std::strerror(errno) : "no space left for all of it"));
}

void require_record_file(const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0) {
    open_descriptor(path, O_WRONLY | O_APPEND);
  } else if (::access(directory_of(path).c_str(), W_OK | X_OK) != 0) {
    throw failure(path + ": can't be opened: " + std::strerror(errno));
  }
}

}  // namespace hilbertring
