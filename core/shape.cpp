#include "core/shape.h"

#include <array>
#include <utility>

#include "core/error.h"

namespace hilbertring {

void Shape::validate() const {
  const std::array<std::pair<const char*, std::int64_t>, 5> sizes = {{{"batch size B", batch},
                                                                      {"number of tokens N", tokens},
                                                                      {"number of heads H", heads},
                                                                      {"number of KV heads G", kv_heads},
                                                                      {"head dimension D", head_dim}}};
  for (const auto& [name, value] : sizes) {
    if (value < 1) throw usage_error(std::string(name) + " is " + std::to_string(value) + ", but must be at least 1");
  }
  if (heads % kv_heads != 0) {
    throw usage_error("number of heads H is " + std::to_string(heads) + ", but must be a multiple of the number of KV heads G, which is " +
                      std::to_string(kv_heads));
  }
  if (head_dim % 8 != 0 || head_dim > 256) {
    throw usage_error("head dimension D is " + std::to_string(head_dim) + ", but must be a multiple of 8 from 8 to 256");
  }
}

std::string to_string(const Shape& shape) {
  return "B=" + std::to_string(shape.batch) + " N=" + std::to_string(shape.tokens) + " H=" + std::to_string(shape.heads) +
         " G=" + std::to_string(shape.kv_heads) + " D=" + std::to_string(shape.head_dim);
}

}  // namespace hilbertring
