#include "drivers/rotation_option.h"

#include <string>

#include "core/error.h"

namespace hilbertring {

OptionEntry rotation_option() {
  return {
      "rotation", "WHAT",
      "what goes round the ring in the backward pass, with its gradients: kv or queries, with the same bits; else auto: whichever sends fewer bytes"};
}

std::optional<Rotation> rotation_from(const Arguments& arguments) {
  const std::string word = arguments.text("rotation").value_or("auto");
  if (word == "auto") return std::nullopt;
  if (word == "kv") return Rotation::kKvUp;
  if (word == "queries") return Rotation::kQueryDown;
  throw usage_error("--rotation is '" + word + "', but must be one of auto, kv, queries");
}

}  // namespace hilbertring
