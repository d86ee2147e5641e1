#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace hilbertring {

/// Owner of a POSIX file descriptor. Its null is -1.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~FileDescriptor();

  int get() const { return descriptor_; }

 private:
  int descriptor_ = -1;
};

/// open(2). Throws Error(kFailure), "PATH: can't be opened: REASON".
FileDescriptor open_descriptor(const std::string& path, int flags);

/// "." for a bare name.
std::string directory_of(const std::string& path);
/// "dir/.NAME.partial": where a file that is not complete yet is written.
std::string partial_path(const std::string& path);

/// Everything that can be known before a file is written: throws usage_error if `path` exists and not `overwrite`, or is no regular file; failure if
/// its directory is missing or can't be written, or has no room for `num_bytes`. Leaves an empty partial file.
void prepare_partial_file(const std::string& path, bool overwrite, std::int64_t num_bytes);
/// Has the file system set blocks aside for the partial file, where it can: then no later write meets a full disk. Throws failure when it is full.
void reserve_partial_file(const std::string& path, std::int64_t num_bytes);
/// Syncs the partial file, gives it its name, and syncs the directory. `overwrite` is asked again: the name may have been taken meanwhile.
void publish_partial_file(const std::string& path, bool overwrite);
/// Removes the partial file, if it is there. Never throws.
void remove_partial_file(const std::string& path) noexcept;

/// The same for a directory: an empty one is made at `partial_path`, where all files go. What a program that was killed left there is removed. Throws
/// failure if the parent is missing or can't be written.
void prepare_partial_directory(const std::string& path);
/// Gives it its name, in place of a directory that has it, and syncs the parent.
void publish_partial_directory(const std::string& path);
/// Removes it with all that is in it, if it is there. Never throws.
void remove_partial_directory(const std::string& path) noexcept;

/// Writes and syncs a whole file. Throws failure.
void write_text_file(const std::string& path, const std::string& text);
/// Appends to a file and syncs it. Throws failure.
void append_to_file(const std::string& path, const std::string& text);
/// Throws input_error if it can't be read.
std::string read_text_file(const std::string& path);

}  // namespace hilbertring
