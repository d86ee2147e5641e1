#include "drivers/partial_directory.h"

#include <utility>

#include "core/error.h"
#include "io/files.h"

namespace hilbertring {

namespace fs = std::filesystem;

std::string directory_name(const std::string& text) {
  fs::path path(text);
  if (path.filename().empty()) path = path.parent_path();
  const std::string name = path.filename();
  if (name.empty() || name == "." || name == "..") throw usage_error("'" + text + "' is not the name of a directory");
  return path;
}

void refuse_taken_directory(const fs::path& directory, const std::string& what, bool may_replace,
                            const std::function<bool(const fs::path&)>& holds_such) {
  if (!fs::exists(fs::symlink_status(directory))) return;
  const std::string name = std::string("'").append(directory.string()).append("'");
  if (!fs::is_directory(directory)) throw usage_error(name + " exists and is no directory");
  if (fs::is_empty(directory)) return;
  if (!may_replace) throw usage_error(name + " exists and is not empty; give --force to replace " + what);
  if (!holds_such(directory)) throw usage_error(name + " holds other things than " + what + "; --force does not remove them");
}

PartialDirectory::PartialDirectory(std::string path) : path_(std::move(path)) { prepare_partial_directory(path_); }

PartialDirectory::~PartialDirectory() {
  if (!is_published_) remove_partial_directory(path_);
}

std::string PartialDirectory::where() const { return partial_path(path_); }

void PartialDirectory::publish() {
  publish_partial_directory(path_);
  is_published_ = true;
}

}  // namespace hilbertring
