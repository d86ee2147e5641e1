#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace hilbertring {

/// The directory without a slash at its end: it takes its place in one step, so that it must have a name in its parent. Throws usage_error if it has
/// none.
std::string directory_name(const std::string& text);

/// Throws usage_error if something has the name: anything but an empty directory without `may_replace`, and with it a directory for which
/// `holds_such` is false. `what` is what the directory is to hold: "a report".
void refuse_taken_directory(const std::filesystem::path& directory, const std::string& what, bool may_replace,
                            const std::function<bool(const std::filesystem::path&)>& holds_such);

/// A directory while it is made, beside its place; removed unless it was published.
class PartialDirectory {
 public:
  explicit PartialDirectory(std::string path);
  ~PartialDirectory();
  PartialDirectory(const PartialDirectory&) = delete;
  PartialDirectory& operator=(const PartialDirectory&) = delete;

  std::string where() const;
  /// Gives it its name.
  void publish();

 private:
  std::string path_;
  bool is_published_ = false;
};

}  // namespace hilbertring
