#include "io/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "core/error.h"

namespace hilbertring {
namespace {

std::string last_reason() { return std::strerror(errno); }

void refuse_taken_name(const std::string& path, bool overwrite) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return;
  if (!overwrite) throw usage_error(path + ": exists already; give --force to overwrite it");
  if (stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) throw usage_error(path + ": is no regular file and can't be overwritten");
}

void check_directory(const std::string& path) {
  const std::string directory = directory_of(path);
  struct stat status {};
  if (stat(directory.c_str(), &status) != 0) throw failure(path + ": can't be written: directory '" + directory + "': " + last_reason());
  if (!S_ISDIR(status.st_mode)) throw failure(path + ": can't be written: '" + directory + "' is not a directory");
  if (access(directory.c_str(), W_OK | X_OK) != 0) {
    throw failure(path + ": can't be written: directory '" + directory + "': " + last_reason());
  }
}

void check_space(const std::string& path, std::int64_t num_bytes) {
  struct statvfs status {};
  if (statvfs(directory_of(path).c_str(), &status) != 0) throw failure(path + ": can't ask for free space: " + last_reason());
  // In units of blocks, so that no product can overflow on the largest file systems.
  const std::uint64_t needed_blocks = static_cast<std::uint64_t>(num_bytes) / status.f_frsize + 1;
  if (needed_blocks <= status.f_bavail) return;
  throw failure("not enough space: " + path + " needs " + std::to_string(num_bytes) + " bytes, the file system has " +
                std::to_string(status.f_bavail * status.f_frsize) + " free");
}

void sync(const std::string& path, int flags) {
  const FileDescriptor file = open_descriptor(path, flags);
  // Some network file systems can't sync a directory; the rename is in their server's hands anyway.
  if (fsync(file.get()) != 0 && errno != EINVAL) throw failure(path + ": can't be synced: " + last_reason());
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (descriptor_ >= 0) close(descriptor_);
}

FileDescriptor open_descriptor(const std::string& path, int flags) {
  const int descriptor = open(path.c_str(), flags | O_CLOEXEC, 0666);
  if (descriptor < 0) throw failure(path + ": can't be opened: " + last_reason());
  return FileDescriptor(descriptor);
}

std::string directory_of(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path();
  return directory.empty() ? "." : directory;
}

std::string partial_path(const std::string& path) {
  const std::filesystem::path whole(path);
  return whole.parent_path() / ('.' + whole.filename().string() + ".partial");
}

void prepare_partial_file(const std::string& path, bool overwrite, std::int64_t num_bytes) {
  if (std::filesystem::path(path).filename().empty()) throw usage_error("'" + path + "' is not the name of a file");
  refuse_taken_name(path, overwrite);
  check_directory(path);
  check_space(path, num_bytes);
  open_descriptor(partial_path(path), O_WRONLY | O_CREAT | O_TRUNC);
}

void reserve_partial_file(const std::string& path, std::int64_t num_bytes) {
  const FileDescriptor file = open_descriptor(partial_path(path), O_WRONLY);
  // Not posix_fallocate: where the file system can't reserve, that one writes into every block.
  while (fallocate(file.get(), 0, 0, num_bytes) != 0) {
    if (errno == EOPNOTSUPP || errno == ENOSYS) return;
    if (errno != EINTR) throw failure("not enough space: " + path + " needs " + std::to_string(num_bytes) + " bytes: " + last_reason());
  }
}

void publish_partial_file(const std::string& path, bool overwrite) {
  const std::string partial = partial_path(path);
  sync(partial, O_RDWR);
  refuse_taken_name(path, overwrite);
  if (std::rename(partial.c_str(), path.c_str()) != 0) throw failure(path + ": can't be given its name: " + last_reason());
  sync(directory_of(path), O_RDONLY | O_DIRECTORY);
}

void remove_partial_file(const std::string& path) noexcept { unlink(partial_path(path).c_str()); }

}  // namespace hilbertring
