#pragma once

#include <cstdint>
#include <string>

namespace hilbertring {

/// "512 B", "12.3 MiB", "4.00 GiB": three digits, binary units.
std::string format_bytes(std::int64_t num_bytes);
/// "1,234,567"
std::string format_count(std::int64_t count);
/// "0.73 ms", "1.24 s", "3 min 20 s"
std::string format_seconds(double seconds);
/// A number with so many significant digits: "1.23e-07", "0.482", "12"
std::string format_number(double value, int num_digits = 3);
/// "97 %", "-3.5 %": a share, with so many decimals, which are left out where they are zeros
std::string format_percent(double share, int num_decimals = 0);
/// "one rank", "4 ranks"
std::string format_plural(std::int64_t count, const std::string& noun);

/// "8GiB", "1.5 GiB", "500MB", "1024" (bytes) as bytes. Throws usage_error naming `option`.
std::int64_t parse_bytes(const std::string& option, const std::string& text);

}  // namespace hilbertring
