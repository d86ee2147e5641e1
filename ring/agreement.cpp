#include "ring/agreement.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"

namespace hilbertring {

namespace {

/// "kind rank library\nmessage"
std::string to_text(const Error& error) {
  return std::to_string(static_cast<int>(error.kind())) + " " + std::to_string(error.rank()) + " " + error.library() + "\n" + error.message();
}

Error from_text(const std::string& text, std::int64_t failed_rank) {
  const std::size_t rank_at = text.find(' ') + 1;
  const std::size_t library_at = text.find(' ', rank_at) + 1;
  const std::size_t message_at = text.find('\n') + 1;
  const int rank = std::stoi(text.substr(rank_at));
  return {static_cast<ErrorKind>(std::stoi(text)), text.substr(library_at, message_at - 1 - library_at), text.substr(message_at),
          rank >= 0 ? rank : static_cast<int>(failed_rank)};
}

}  // namespace

void agree(Transport& transport, const std::function<void()>& step) {
  const std::optional<Error> error = error_of(step);
  // The good case costs one small reduction; texts are gathered only when there is something to say.
  std::int64_t lowest_failed = error ? transport.rank().value : std::numeric_limits<std::int64_t>::max();
  transport.all_reduce(std::span(&lowest_failed, 1), Reduction::kMin);
  if (lowest_failed == std::numeric_limits<std::int64_t>::max()) return;
  const std::vector<std::string> texts = transport.all_gather(error ? to_text(*error) : "");
  throw from_text(texts[static_cast<std::size_t>(lowest_failed)], lowest_failed);
}

}  // namespace hilbertring
