#include "core/element_type.h"

#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/specification.h"

namespace hilbertring {

namespace {

constexpr int kDoubleMantissaBits = 52;
constexpr int kDoubleBias = 1023;
constexpr std::uint64_t kDoubleExponentMask = 0x7ff;
constexpr std::uint64_t kDoubleMantissaMask = (std::uint64_t{1} << kDoubleMantissaBits) - 1;

/// value / 2^shift, to nearest, ties to even. 1 <= shift <= 63.
constexpr std::uint64_t shift_right_to_nearest_even(std::uint64_t value, int shift) {
  const std::uint64_t kept = value >> shift;
  const std::uint64_t rest = value & ((std::uint64_t{1} << shift) - 1);
  const std::uint64_t half = std::uint64_t{1} << (shift - 1);
  const bool up = rest > half || (rest == half && (kept & 1) != 0);
  return kept + (up ? 1 : 0);
}

/// Rounds to a 16-bit format with the given fields. Integer arithmetic, so that neither the rounding mode of the machine nor its handling of
/// subnormals matters.
template <int kExponentBits, int kMantissaBits>
std::uint16_t round_to_bits(double value) {
  static_assert(1 + kExponentBits + kMantissaBits == 16);
  constexpr std::uint64_t kMaxExponent = (1U << kExponentBits) - 1;
  constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  constexpr int kDropped = kDoubleMantissaBits - kMantissaBits;
  const auto bits = std::bit_cast<std::uint64_t>(value);
  const std::uint64_t sign = (bits >> 63) << 15;
  const std::uint64_t mantissa = bits & kDoubleMantissaMask;
  const auto exponent = static_cast<int>((bits >> kDoubleMantissaBits) & kDoubleExponentMask);
  constexpr std::uint64_t kInfinity = kMaxExponent << kMantissaBits;

  if (exponent == static_cast<int>(kDoubleExponentMask)) {
    // The leading payload bits stay; the quiet bit is set, so that a payload which is cut off doesn't leave an infinity.
    const std::uint64_t payload = mantissa == 0 ? 0 : (mantissa >> kDropped) | (std::uint64_t{1} << (kMantissaBits - 1));
    return static_cast<std::uint16_t>(sign | kInfinity | payload);
  }
  const int target_exponent = exponent - kDoubleBias + kBias;
  if (target_exponent >= static_cast<int>(kMaxExponent)) return static_cast<std::uint16_t>(sign | kInfinity);
  const std::uint64_t significand = mantissa | (std::uint64_t{1} << kDoubleMantissaBits);
  if (target_exponent <= 0) {
    const int shift = kDropped + 1 - target_exponent;
    // Below half of the least subnormal everything is zero; doubles that are subnormal themselves are far below.
    const std::uint64_t magnitude = shift > kDoubleMantissaBits + 1 ? 0 : shift_right_to_nearest_even(significand, shift);
    return static_cast<std::uint16_t>(sign | magnitude);
  }
  // The implicit bit adds one to the exponent, and so does a carry out of the mantissa: up to infinity, as it must.
  const std::uint64_t magnitude =
      (static_cast<std::uint64_t>(target_exponent - 1) << kMantissaBits) + shift_right_to_nearest_even(significand, kDropped);
  return static_cast<std::uint16_t>(sign | magnitude);
}

template <class T>
T convert(double value);
template <>
Float16 convert<Float16>(double value) {
  return to_float16(value);
}
template <>
Bfloat16 convert<Bfloat16>(double value) {
  return to_bfloat16(value);
}
template <>
float convert<float>(double value) {
  return static_cast<float>(value);
}
template <>
double convert<double>(double value) {
  return value;
}

constexpr double to_double(double value) { return value; }
template <class T>
constexpr double to_double(T value) {
  return static_cast<double>(to_float(value));
}

}  // namespace

double unit_roundoff(ElementType type) {
  switch (type) {
    case ElementType::kFloat16: return 0x1p-11;
    case ElementType::kBfloat16: return 0x1p-8;
    case ElementType::kFloat32: return 0x1p-24;
    case ElementType::kFloat64: break;
  }
  return 0x1p-53;
}

std::string_view to_string(ElementType type) {
  switch (type) {
    case ElementType::kFloat16: return "float16";
    case ElementType::kBfloat16: return "bfloat16";
    case ElementType::kFloat32: return "float32";
    case ElementType::kFloat64: break;
  }
  return "float64";
}

ElementType parse_element_type(std::string_view text) {
  std::vector<std::string> names;
  for (const ElementType type : kElementTypes) {
    if (to_string(type) == text) return type;
    names.emplace_back(to_string(type));
  }
  const std::string word(text);
  throw usage_error("unknown type '" + word + "'; did you mean '" + nearest_name(word, names) + "'?");
}

// A float widens to double exactly, so one rounding from double is one rounding from float.
Float16 to_float16(float value) { return to_float16(static_cast<double>(value)); }
Bfloat16 to_bfloat16(float value) { return to_bfloat16(static_cast<double>(value)); }
Float16 to_float16(double value) { return {round_to_bits<5, 10>(value)}; }
Bfloat16 to_bfloat16(double value) { return {round_to_bits<8, 7>(value)}; }

double load_element(const std::byte* data, ElementType type, std::int64_t index) {
  return visit_element_type(type, [&]<class T>(T value) {
    std::memcpy(&value, data + index * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    return to_double(value);
  });
}

void store_element(std::byte* data, ElementType type, std::int64_t index, double value) {
  visit_element_type(type, [&]<class T>(T) {
    const T stored = convert<T>(value);
    std::memcpy(data + index * static_cast<std::int64_t>(sizeof(T)), &stored, sizeof(T));
  });
}

}  // namespace hilbertring
