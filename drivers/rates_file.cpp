#include "drivers/rates_file.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/specification.h"
#include "io/files.h"

namespace hilbertring {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "hilbertring-rates";
constexpr std::int64_t kVersion = 1;

/// An object of the file and its place in it, for complaints.
class JsonObject {
 public:
  JsonObject(const Json& json, std::string name) : json_(json), name_(std::move(name)) {
    if (!json_.is_object()) throw input_error((name_.empty() ? "the file" : "'" + name_ + "'") + " must be a JSON object");
  }

  void require_known(const std::vector<std::string>& keys) const {
    for (const auto& [key, value] : json_.items()) {
      if (std::ranges::find(keys, key) != keys.end()) continue;
      throw input_error("unknown key '" + full_name(key) + "'; did you mean '" + full_name(nearest_name(key, keys)) + "'?");
    }
  }
  bool has(const char* key) const { return json_.contains(key); }
  JsonObject object(const char* key) const { return {value(key), full_name(key)}; }
  std::string text(const char* key) const {
    if (!value(key).is_string()) throw input_error("'" + full_name(key) + "' must be a text");
    return value(key).get<std::string>();
  }
  std::string text_or_empty(const char* key) const { return has(key) ? text(key) : ""; }
  double number(const char* key) const {
    if (!value(key).is_number()) throw input_error("'" + full_name(key) + "' must be a number");
    return value(key).get<double>();
  }
  std::int64_t integer(const char* key) const {
    if (!value(key).is_number_integer()) throw input_error("'" + full_name(key) + "' must be a whole number");
    return value(key).get<std::int64_t>();
  }

 private:
  std::string full_name(const std::string& key) const { return name_.empty() ? key : name_ + "." + key; }
  const Json& value(const char* key) const {
    if (!has(key)) throw input_error("'" + full_name(key) + "' is missing");
    return json_.at(key);
  }

  const Json& json_;
  std::string name_;
};

Backend backend_named(const std::string& name) {
  for (const Backend backend : {Backend::kCpu, Backend::kCuda}) {
    if (name == to_string(backend)) return backend;
  }
  throw input_error("backend is '" + name + "', but must be cpu or cuda");
}

FoldRates folds_from(const JsonObject& folds) {
  folds.require_known({"pairs_per_second", "seconds_per_fold", "seconds_per_row"});
  const JsonObject pairs = folds.object("pairs_per_second");
  pairs.require_known({"whole", "cut", "dilated"});
  return {.whole = pairs.number("whole"),
          .cut = pairs.number("cut"),
          .dilated = pairs.number("dilated"),
          .seconds_per_fold = folds.number("seconds_per_fold"),
          .seconds_per_row = folds.number("seconds_per_row")};
}

std::optional<LinkRates> link_from(const JsonObject& links, const char* name) {
  if (!links.has(name)) return std::nullopt;
  const JsonObject link = links.object(name);
  link.require_known({"bytes_per_second", "seconds_per_message"});
  return LinkRates{.bytes_per_second = link.number("bytes_per_second"), .seconds_per_message = link.number("seconds_per_message")};
}

int threads_from(const JsonObject& file) {
  const std::int64_t num_threads = file.integer("threads_per_rank");
  if (num_threads < 1 || num_threads > std::numeric_limits<int>::max()) {
    throw input_error("threads_per_rank is " + std::to_string(num_threads) + ", but must be at least 1");
  }
  return static_cast<int>(num_threads);
}

Rates rates_from_json(const JsonObject& file) {
  const JsonObject links = file.object("links");
  links.require_known({"within_node", "between_nodes"});
  Rates rates{.backend = backend_named(file.text("backend")),
              .type = parse_element_type(file.text("type")),
              .head_dim = file.integer("head_dim"),
              .num_threads = threads_from(file),
              .forward = folds_from(file.object("forward")),
              .backward = folds_from(file.object("backward")),
              .overlap = file.number("overlap"),
              .ranks_per_node = file.integer("ranks_per_node"),
              .within_node = link_from(links, "within_node"),
              .between_nodes = link_from(links, "between_nodes")};
  rates.validate();
  return rates;
}

RatesFile file_from_json(const JsonObject& file) {
  if (file.text("format") != kFormat) throw input_error("format is '" + file.text("format") + "', but must be " + kFormat);
  if (file.integer("version") != kVersion) {
    throw input_error("version is " + std::to_string(file.integer("version")) + ", but this program reads " + std::to_string(kVersion));
  }
  file.require_known({"format", "version", "note", "program_version", "build", "machine", "device", "transport", "backend", "type", "head_dim",
                      "threads_per_rank", "ranks_per_node", "forward", "backward", "overlap", "links"});
  return {.path = "",
          .rates = rates_from_json(file),
          .note = file.text_or_empty("note"),
          .program_version = file.text_or_empty("program_version"),
          .build = file.text_or_empty("build"),
          .machine = file.text_or_empty("machine"),
          .device = file.text_or_empty("device"),
          .transport = file.text_or_empty("transport")};
}

Json folds_json(const FoldRates& folds) {
  return {{"pairs_per_second", {{"whole", folds.whole}, {"cut", folds.cut}, {"dilated", folds.dilated}}},
          {"seconds_per_fold", folds.seconds_per_fold},
          {"seconds_per_row", folds.seconds_per_row}};
}

Json links_json(const Rates& rates) {
  Json links = Json::object();
  const auto add = [&](const char* name, const std::optional<LinkRates>& link) {
    if (link) links[name] = {{"bytes_per_second", link->bytes_per_second}, {"seconds_per_message", link->seconds_per_message}};
  };
  add("within_node", rates.within_node);
  add("between_nodes", rates.between_nodes);
  return links;
}

}  // namespace

RatesFile read_rates(const std::string& path) {
  const Json json = Json::parse(read_text_file(path), nullptr, false);
  if (json.is_discarded()) throw input_error(path + ": is not JSON, or damaged");
  try {
    RatesFile file = file_from_json(JsonObject(json, ""));
    file.path = path;
    return file;
  } catch (const Error& error) {
    throw input_error(path + ": " + error.message());
  }
}

std::string to_json(const RatesFile& file) {
  Json json = {{"format", kFormat}, {"version", kVersion}};
  const auto add = [&](const char* key, const std::string& text) {
    if (!text.empty()) json[key] = text;
  };
  add("note", file.note);
  add("program_version", file.program_version);
  add("build", file.build);
  add("machine", file.machine);
  add("device", file.device);
  add("transport", file.transport);
  json["backend"] = std::string(to_string(file.rates.backend));
  json["type"] = std::string(to_string(file.rates.type));
  json["head_dim"] = file.rates.head_dim;
  json["threads_per_rank"] = file.rates.num_threads;
  json["ranks_per_node"] = file.rates.ranks_per_node;
  json["forward"] = folds_json(file.rates.forward);
  json["backward"] = folds_json(file.rates.backward);
  json["overlap"] = file.rates.overlap;
  json["links"] = links_json(file.rates);
  return json.dump(2) + "\n";
}

OptionGroup rates_options() {
  return {"Predicted times",
          {{"rates", "RATES.json", "predict times from the rates that `hilbertring calibrate` measured"},
           {"rates-anyway", "", "take rates of another backend, type, head dimension or number of threads all the same"}}};
}

std::optional<RatesFile> rates_from(const Arguments& arguments) {
  const auto path = arguments.text("rates");
  if (path) return read_rates(*path);
  if (arguments.has("rates-anyway")) throw usage_error("--rates-anyway is given without --rates");
  return std::nullopt;
}

void require_rates_for(const RatesFile& file, const Problem& problem, Backend backend, int num_threads, const Arguments& arguments) {
  if (arguments.has("rates-anyway")) return;
  const auto require_equal = [&](const std::string& what, const std::string& measured, const std::string& asked) {
    if (measured == asked) return;
    throw usage_error(file.path + " was measured with " + what + " " + measured + ", but this is " + asked +
                      "; --rates-anyway takes it all the same");
  };
  const Rates& rates = file.rates;
  require_equal("backend", std::string(to_string(rates.backend)), std::string(to_string(backend)));
  require_equal("type", std::string(to_string(rates.type)), std::string(to_string(problem.type)));
  require_equal("head dimension", std::to_string(rates.head_dim), std::to_string(problem.shape.head_dim));
  // A GPU's rates do not depend on the host's threads.
  if (backend == Backend::kCpu) require_equal("threads per rank", std::to_string(rates.num_threads), std::to_string(num_threads));
}

}  // namespace hilbertring
