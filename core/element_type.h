#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hilbertring {

/// IEEE 754 binary16 and bfloat16 as storage: arithmetic happens in float.
struct Float16 {
  std::uint16_t bits = 0;
};
struct Bfloat16 {
  std::uint16_t bits = 0;
};

enum class ElementType { kFloat16, kBfloat16, kFloat32, kFloat64 };
inline constexpr std::array kElementTypes = {ElementType::kFloat16, ElementType::kBfloat16, ElementType::kFloat32, ElementType::kFloat64};

constexpr std::int64_t size_bytes(ElementType type) { return type == ElementType::kFloat64 ? 8 : type == ElementType::kFloat32 ? 4 : 2; }

/// Largest relative error of one rounding to the type (2^-11, 2^-8, 2^-24, 2^-53).
double unit_roundoff(ElementType type);

std::string_view to_string(ElementType type);
/// "float16", "bfloat16", "float32", "float64". Throws usage_error naming the nearest valid name.
ElementType parse_element_type(std::string_view text);

/// What the folds compute and carry in: double for float64, float for all else.
constexpr ElementType arithmetic_type(ElementType type) { return type == ElementType::kFloat64 ? ElementType::kFloat64 : ElementType::kFloat32; }

/// Exact widening, and rounding to nearest even (overflow to infinity, NaN stays NaN): the same bits on every machine.
constexpr float to_float(Float16 value) {
  const std::uint32_t sign = (value.bits & 0x8000U) << 16;
  const std::uint32_t magnitude = (value.bits & 0x7fffU) << 13;
  // Read with float's exponent the magnitude is 2^112 too small, subnormals too: one exact product puts it right, without a branch.
  const auto finite = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112F);
  const bool is_finite = magnitude < (0x7c00U << 13);
  return std::bit_cast<float>(sign | (is_finite ? finite : magnitude | 0x7f800000U));
}
constexpr float to_float(Bfloat16 value) { return std::bit_cast<float>(std::uint32_t{value.bits} << 16); }
constexpr float to_float(float value) { return value; }
Float16 to_float16(float value);
Bfloat16 to_bfloat16(float value);
/// One rounding from double (not double -> float -> half, which rounds twice).
Float16 to_float16(double value);
Bfloat16 to_bfloat16(double value);

/// Element `index` of an array of `type`, read as double, and written with one rounding.
double load_element(const std::byte* data, ElementType type, std::int64_t index);
void store_element(std::byte* data, ElementType type, std::int64_t index, double value);

/// Calls `f(T{})` with the storage type of `type`.
template <class F>
decltype(auto) visit_element_type(ElementType type, F&& f) {
  switch (type) {
    case ElementType::kFloat16: return f(Float16{});
    case ElementType::kBfloat16: return f(Bfloat16{});
    case ElementType::kFloat32: return f(float{});
    case ElementType::kFloat64: break;
  }
  return f(double{});
}

}  // namespace hilbertring
