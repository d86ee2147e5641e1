#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/specification.h"

namespace hilbertring {

namespace {

using Json = nlohmann::json;

template <class Enum, std::size_t kCount>
using NameTable = std::array<std::pair<Enum, std::string_view>, kCount>;

constexpr NameTable<BranchHeads, 2> kBranchHeadsNames = {{{BranchHeads::kAll, "all"}, {BranchHeads::kSplit, "split"}}};
constexpr NameTable<Dilate, 2> kDilateNames = {{{Dilate::kQkv, "qkv"}, {Dilate::kKv, "kv"}}};
constexpr NameTable<Offset, 3> kOffsetNames = {{{Offset::kZero, "zero"}, {Offset::kHeadMod, "head-mod"}, {Offset::kHeadBlock, "head-block"}}};
constexpr NameTable<Causal, 3> kCausalNames = {{{Causal::kNone, "none"}, {Causal::kSequence, "sequence"}, {Causal::kPosition, "position"}}};
constexpr NameTable<Curve, 5> kCurveNames = {
    {{Curve::kIdentity, "identity"}, {Curve::kHilbert, "hilbert"}, {Curve::kSnake, "snake"}, {Curve::kMorton, "morton"}, {Curve::kFile, "file"}}};
constexpr NameTable<CurveOn, 2> kCurveOnNames = {{{CurveOn::kQkv, "qkv"}, {CurveOn::kKv, "kv"}}};
constexpr NameTable<Placement, 2> kPlacementNames = {{{Placement::kContiguous, "contiguous"}, {Placement::kZigzag, "zigzag"}}};

/// One key of the specification: all that reading and writing it takes. What comes as text becomes JSON first, so that one reader serves both.
struct Field {
  std::string name;
  /// Throws Error of the given kind.
  std::function<void(Specification&, const Json&, ErrorKind)> read;
  /// Null where the key is left out because its default can't be written.
  std::function<Json(const Specification&)> write;
  /// Throws usage_error.
  std::function<Json(const std::string&)> from_text;
  std::vector<std::string> words = {};  ///< all that may stand there; empty for numbers
};

/// The word as it may stand in a one-line message: without control characters, and not endless.
std::string quoted(std::string word) {
  constexpr std::size_t kLongest = 60;
  if (word.size() > kLongest) word = word.substr(0, kLongest) + "...";
  std::replace_if(
      word.begin(), word.end(), [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127; }, '?');
  return "'" + word + "'";
}

Error wrong_type(ErrorKind kind, const std::string& name, const Json& value, const std::string& rule) {
  return {kind, "", name + " is " + quoted(value.dump(-1, ' ', true, Json::error_handler_t::replace)) + ", but must be " + rule};
}

Error unknown_word(ErrorKind kind, const std::string& what, const std::string& word, const std::vector<std::string>& candidates) {
  return {kind, "", "unknown " + what + " " + quoted(word) + "; did you mean '" + nearest_name(word, candidates) + "'?"};
}

std::int64_t read_integer(ErrorKind kind, const std::string& name, const Json& value) {
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const bool is_too_large = value.is_number_unsigned() && value.get<std::uint64_t>() > kLargest;
  if (!value.is_number_integer() || is_too_large) throw wrong_type(kind, name, value, "an integer below 2^63");
  return value.get<std::int64_t>();
}

std::vector<std::int64_t> read_integers(ErrorKind kind, const std::string& name, const Json& value) {
  if (!value.is_array()) throw wrong_type(kind, name, value, "a list of integers");
  std::vector<std::int64_t> result;
  for (const Json& element : value) result.push_back(read_integer(kind, name + "[" + std::to_string(result.size()) + "]", element));
  return result;
}

Json integer_from_text(const std::string& name, std::string_view text) {
  std::int64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{} || end != text.data() + text.size()) {
    throw usage_error(name + " has " + quoted(std::string(text)) + " where an integer below 2^63 must stand");
  }
  return value;
}

Json integers_from_text(const std::string& name, std::string_view text, std::string_view separators) {
  Json result = Json::array();
  while (true) {
    const std::size_t length = std::min(text.find_first_of(separators), text.size());
    result.push_back(integer_from_text(name, text.substr(0, length)));
    if (length == text.size()) return result;
    text.remove_prefix(length + 1);
  }
}

Json number_from_text(const std::string& name, const std::string& text) {
  double value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{} || end != text.data() + text.size()) throw usage_error(name + " is " + quoted(text) + ", but must be a number");
  return value;
}

Field list_field(const std::string& name, std::vector<std::int64_t> Specification::*member) {
  return {.name = name,
          .read = [=](Specification& s, const Json& value, ErrorKind kind) { s.*member = read_integers(kind, name, value); },
          .write = [=](const Specification& s) { return Json(s.*member); },
          .from_text = [=](const std::string& text) { return integers_from_text(name, text, ","); }};
}

Field integer_field(const std::string& name, std::int64_t Specification::*member) {
  return {.name = name,
          .read = [=](Specification& s, const Json& value, ErrorKind kind) { s.*member = read_integer(kind, name, value); },
          .write = [=](const Specification& s) { return Json(s.*member); },
          .from_text = [=](const std::string& text) { return integer_from_text(name, text); }};
}

template <class Enum, std::size_t kCount>
std::vector<std::string> names_in(const NameTable<Enum, kCount>& table) {
  std::vector<std::string> names;
  for (const auto& [entry, text] : table) names.emplace_back(text);
  return names;
}

template <class Enum, std::size_t kCount>
Enum read_name(ErrorKind kind, const std::string& name, const Json& value, const NameTable<Enum, kCount>& table) {
  std::string list;
  for (const auto& [entry, text] : table) {
    if (value == text) return entry;
    list += (list.empty() ? "" : ", ") + std::string(text);
  }
  if (!value.is_string()) throw wrong_type(kind, name, value, "one of the texts " + list);
  throw unknown_word(kind, "value for " + name, value.get<std::string>(), names_in(table));
}

template <class Enum, std::size_t kCount>
Field name_field(const std::string& name, Enum Specification::*member, const NameTable<Enum, kCount>& table) {
  const auto write = [=](const Specification& s) {
    return Json(std::find_if(table.begin(), table.end(), [&](const auto& entry) { return entry.first == s.*member; })->second);
  };
  return {.name = name,
          .read = [=](Specification& s, const Json& value, ErrorKind kind) { s.*member = read_name(kind, name, value, table); },
          .write = write,
          .from_text = [](const std::string& text) { return Json(text); },
          .words = names_in(table)};
}

/// JSON's null stands for the default grid, as a missing key does.
Field grid_field() {
  const auto read = [](Specification& s, const Json& value, ErrorKind kind) {
    s.grid = value.is_null() ? std::vector<std::int64_t>{} : read_integers(kind, "grid", value);
  };
  return {.name = "grid",
          .read = read,
          .write = [](const Specification& s) { return s.grid.empty() ? Json() : Json(s.grid); },
          .from_text = [](const std::string& text) { return integers_from_text("grid", text, ",x"); }};
}

/// JSON's null stands for 1 / sqrt(D), as a missing key does.
Field scale_field() {
  const auto read = [](Specification& s, const Json& value, ErrorKind kind) {
    if (!value.is_null() && !value.is_number()) throw wrong_type(kind, "scale", value, "a number");
    s.scale = value.is_null() ? std::nullopt : std::optional(value.get<double>());
  };
  return {.name = "scale",
          .read = read,
          .write = [](const Specification& s) { return s.scale ? Json(*s.scale) : Json(); },
          .from_text = [](const std::string& text) { return number_from_text("scale", text); }};
}

const std::vector<Field>& fields() {
  static const std::vector<Field> all = {
      list_field("segment_lengths", &Specification::segment_lengths),
      list_field("dilation_rates", &Specification::dilation_rates),
      name_field("branch_heads", &Specification::branch_heads, kBranchHeadsNames),
      name_field("dilate", &Specification::dilate, kDilateNames),
      name_field("offset", &Specification::offset, kOffsetNames),
      name_field("causal", &Specification::causal, kCausalNames),
      name_field("curve", &Specification::curve, kCurveNames),
      integer_field("curve_chunk", &Specification::curve_chunk),
      name_field("curve_on", &Specification::curve_on, kCurveOnNames),
      grid_field(),
      scale_field(),
      integer_field("chunk", &Specification::chunk),
      name_field("placement", &Specification::placement, kPlacementNames),
  };
  return all;
}

const Field& field_named(const std::string& name, ErrorKind kind) {
  for (const Field& field : fields()) {
    if (field.name == name) return field;
  }
  throw unknown_word(kind, "key", name, specification_keys());
}

/// JSON objects may repeat a key, and parsers then keep one of the values without a word: here it is an error.
Json parse_object(const std::string& text) {
  std::set<std::string> keys;
  const auto refuse_repeated_keys = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth == 1 && event == Json::parse_event_t::key && !keys.insert(parsed.get<std::string>()).second) {
      throw input_error("spec has the key " + quoted(parsed.get<std::string>()) + " twice, but each key may stand once");
    }
    return true;
  };
  try {
    Json result = Json::parse(text, refuse_repeated_keys);
    if (!result.is_object()) throw wrong_type(ErrorKind::kInput, "spec", result, "a JSON object");
    return result;
  } catch (const Json::exception& error) {
    const auto* syntax = dynamic_cast<const Json::parse_error*>(&error);
    throw input_error("spec " + quoted(text) + " is not JSON" + (syntax ? ": the error is at byte " + std::to_string(syntax->byte) : ""));
  }
}

void require_branches(const Json& object, const Specification& specification) {
  for (const std::string key : {"segment_lengths", "dilation_rates"}) {
    if (!object.contains(key)) throw input_error("spec has no key '" + key + "', which must be given");
  }
  const std::size_t num_lengths = specification.segment_lengths.size();
  const std::size_t num_rates = specification.dilation_rates.size();
  if (num_lengths != num_rates) {
    throw input_error("segment_lengths has " + std::to_string(num_lengths) + " entries and dilation_rates has " + std::to_string(num_rates) +
                      ", but both must have one per branch");
  }
}

std::size_t edit_distance(const std::string& a, const std::string& b) {
  // distance[j]: from the letters of `a` so far to the first j of `b`.
  std::vector<std::size_t> distance(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) distance[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = distance[0];
    distance[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = distance[j + 1];
      distance[j + 1] = std::min({replaced, distance[j] + 1, distance[j + 1] + 1});
    }
  }
  return distance.back();
}

}  // namespace

const std::vector<std::string>& specification_keys() {
  static const std::vector<std::string> keys = [] {
    std::vector<std::string> names;
    for (const Field& field : fields()) names.push_back(field.name);
    return names;
  }();
  return keys;
}

const std::vector<std::string>& specification_words(const std::string& key) { return field_named(key, ErrorKind::kUsage).words; }

std::string to_json(const Specification& specification) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const Field& field : fields()) {
    const Json value = field.write(specification);
    if (!value.is_null()) object[field.name] = value;
  }
  return object.dump();
}

Specification specification_from_json(const std::string& text) {
  const Json object = parse_object(text);
  Specification specification;
  for (const auto& [key, value] : object.items()) field_named(key, ErrorKind::kInput).read(specification, value, ErrorKind::kInput);
  require_branches(object, specification);
  return specification;
}

void set_from_text(Specification& specification, const std::string& key, const std::string& value) {
  std::string name = key;
  std::replace(name.begin(), name.end(), '-', '_');
  const Field& field = field_named(name, ErrorKind::kUsage);
  field.read(specification, field.from_text(value), ErrorKind::kUsage);
}

std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates) {
  std::string nearest;
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace hilbertring
