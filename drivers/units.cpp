#include "drivers/units.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace hilbertring {

namespace {

std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

/// Decimals that leave three significant digits of a number between 1 and 1024.
std::string three_digits(double value) { return formatted(value < 9.995 ? "%.2f" : value < 99.95 ? "%.1f" : "%.0f", value); }

constexpr std::array<std::pair<std::string_view, double>, 14> kByteUnits = {{{"", 1},
                                                                             {"b", 1},
                                                                             {"k", 0x1p10},
                                                                             {"kib", 0x1p10},
                                                                             {"m", 0x1p20},
                                                                             {"mib", 0x1p20},
                                                                             {"g", 0x1p30},
                                                                             {"gib", 0x1p30},
                                                                             {"t", 0x1p40},
                                                                             {"tib", 0x1p40},
                                                                             {"kb", 1e3},
                                                                             {"mb", 1e6},
                                                                             {"gb", 1e9},
                                                                             {"tb", 1e12}}};

Error bad_bytes(const std::string& option, const std::string& text) {
  return usage_error("--" + option + " is '" + text + "', but must be a number of bytes of at least 1, such as 500MB or 8GiB");
}

}  // namespace

std::string format_bytes(std::int64_t num_bytes) {
  constexpr std::array<const char*, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (num_bytes < 1024) return std::to_string(num_bytes) + " B";
  double value = static_cast<double>(num_bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1023.5 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return three_digits(value) + " " + kUnits[unit];
}

std::string format_count(std::int64_t count) {
  std::string digits = std::to_string(count);
  const std::size_t first = count < 0 ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

std::string format_seconds(double seconds) {
  if (seconds < 0.9995) return three_digits(seconds * 1e3) + " ms";
  if (seconds < 99.95) return three_digits(seconds) + " s";
  if (!(seconds < 1e12)) return formatted("%.3g s", seconds);  // too long for minutes; not a number
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  return std::to_string(whole / 60) + " min " + std::to_string(whole % 60) + " s";
}

std::string format_number(double value, int num_digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*g", num_digits, value);
  return text;
}

std::string format_percent(double share, int num_decimals) {
  const double scale = std::pow(10, num_decimals);
  return format_number(std::round(100 * scale * share) / scale + 0.0, 4) + " %";  // + 0.0: no "-0"
}

std::string format_plural(std::int64_t count, const std::string& noun) { return count == 1 ? "one " + noun : format_count(count) + " " + noun + "s"; }

std::int64_t parse_bytes(const std::string& option, const std::string& text) {
  double value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{} || !std::isfinite(value)) throw bad_bytes(option, text);
  std::string unit;
  for (const char* at = end; at != text.data() + text.size(); ++at) {
    if (*at != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*at)));
  }
  for (const auto& [name, factor] : kByteUnits) {
    const double num_bytes = value * factor;
    if (name == unit && num_bytes >= 1 && num_bytes < 0x1p62) return static_cast<std::int64_t>(num_bytes);
  }
  throw bad_bytes(option, text);
}

}  // namespace hilbertring
