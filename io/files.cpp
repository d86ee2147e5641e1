#include "io/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

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

void prepare_partial_directory(const std::string& path) {
  check_directory(path);
  remove_partial_directory(path);
  if (mkdir(partial_path(path).c_str(), 0777) != 0) throw failure(path + ": can't be written: " + last_reason());
}

void publish_partial_directory(const std::string& path) {
  const auto rename = [&](const std::string& from, const std::string& to) {
    if (std::rename(from.c_str(), to.c_str()) != 0) throw failure(path + ": can't be given its name: " + last_reason());
  };
  // A directory with files can't be replaced by another in one step: it makes way first, and goes when the new one has its name.
  const std::string old = partial_path(path + ".old");
  std::error_code ignored;
  const bool makes_way = std::filesystem::exists(path, ignored) && !std::filesystem::is_empty(path, ignored);
  if (makes_way) {
    std::filesystem::remove_all(old, ignored);
    rename(path, old);
  }
  rename(partial_path(path), path);
  sync(directory_of(path), O_RDONLY | O_DIRECTORY);
  if (makes_way) std::filesystem::remove_all(old, ignored);
}

void remove_partial_directory(const std::string& path) noexcept {
  std::error_code ignored;
  std::filesystem::remove_all(partial_path(path), ignored);
}

namespace {

void write_and_sync(const FileDescriptor& file, const std::string& path, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = write(file.get(), text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) throw failure(path + ": can't be written: " + last_reason());
    done += static_cast<std::size_t>(written);
  }
  if (fsync(file.get()) != 0) throw failure(path + ": can't be synced: " + last_reason());
}

}  // namespace

void write_text_file(const std::string& path, const std::string& text) {
  write_and_sync(open_descriptor(path, O_WRONLY | O_CREAT | O_TRUNC), path, text);
}

void append_to_file(const std::string& path, const std::string& text) { write_and_sync(open_descriptor(path, O_WRONLY | O_APPEND), path, text); }

std::string read_text_file(const std::string& path) {
  std::error_code problem;
  if (std::filesystem::is_directory(path, problem)) throw input_error(path + ": is a directory; it must be a file");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw input_error(path + ": can't be read: " + last_reason());
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

}  // namespace hilbertring
