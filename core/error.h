#pragma once

#include <exception>
#include <functional>
#include <optional>
#include <source_location>
#include <string>

namespace hilbertring {

/// What went wrong, as far as the exit status tells: README.md documents the numbers.
enum class ErrorKind {
  kUsage = 2,    ///< the caller asked for something that can't be: a flag, a specification, a rank count
  kInput = 3,    ///< a file or a tensor is not what it must be
  kFailure = 4,  ///< the machine failed: memory, disk, a library, another rank
  kStopped = 5,  ///< a signal asked it to stop; what was done is saved
};

/// The one exception of this project. `what()` is a single line that names the thing, the value and the rule.
class Error : public std::exception {
 public:
  /// `library` is "HDF5", "MPI", ... or "" when the project itself refuses; `rank` is -1 where ranks play no part.
  Error(ErrorKind kind, std::string library, std::string message, int rank = -1, std::source_location where = std::source_location::current());

  const char* what() const noexcept override { return text_.c_str(); }
  /// `what()` without the library in front.
  std::string message() const { return library_.empty() ? text_ : text_.substr(library_.size() + 2); }
  ErrorKind kind() const noexcept { return kind_; }
  const std::string& library() const noexcept { return library_; }
  int rank() const noexcept { return rank_; }
  /// "file:line" of the throw: for a bug report, not for the line that a user reads.
  const std::string& where() const noexcept { return where_; }

 private:
  ErrorKind kind_;
  std::string library_;
  std::string text_;
  std::string where_;
  int rank_;
};

/// Shorthands for the project's own refusals.
Error usage_error(std::string message, std::source_location where = std::source_location::current());
Error input_error(std::string message, std::source_location where = std::source_location::current());
Error failure(std::string message, std::source_location where = std::source_location::current());

/// The exception that is being handled, as an Error: any other kind of exception is a failure with its text. Only inside a catch clause.
Error current_error();
/// What `step` threw, if it threw anything.
std::optional<Error> error_of(const std::function<void()>& step);

}  // namespace hilbertring
