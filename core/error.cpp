#include "core/error.h"

#include <new>
#include <string_view>
#include <utility>

namespace hilbertring {

Error::Error(ErrorKind kind, std::string library, std::string message, int rank, std::source_location where)
    : kind_(kind), library_(std::move(library)), text_(std::move(message)), rank_(rank) {
  if (!library_.empty()) text_ = library_ + ": " + text_;
  std::string_view file = where.file_name();
  file.remove_prefix(file.rfind('/') == std::string_view::npos ? 0 : file.rfind('/') + 1);
  where_ = std::string(file) + ":" + std::to_string(where.line());
}

Error usage_error(std::string message, std::source_location where) { return {ErrorKind::kUsage, "", std::move(message), -1, where}; }

Error input_error(std::string message, std::source_location where) { return {ErrorKind::kInput, "", std::move(message), -1, where}; }

Error failure(std::string message, std::source_location where) { return {ErrorKind::kFailure, "", std::move(message), -1, where}; }

Error current_error() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return failure("not enough memory");
  } catch (const std::exception& exception) {
    return failure(exception.what());
  } catch (...) {
    return failure("unknown exception");
  }
}

std::optional<Error> error_of(const std::function<void()>& step) {
  try {
    step();
    return std::nullopt;
  } catch (...) {
    return current_error();
  }
}

}  // namespace hilbertring
