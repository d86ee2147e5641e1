#include "drivers/options.h"

#include <boost/program_options.hpp>
#include <charconv>
#include <fstream>
#include <utility>

#include "core/error.h"
#include "core/specification.h"

namespace hilbertring {

namespace po = boost::program_options;

namespace {

constexpr const char* kOperands = "operand";
constexpr unsigned kHelpWidth = 120;

const OptionGroup& general_options() {
  static const OptionGroup group = {"General options",
                                    {{"config", "FILE", "read options from FILE, one 'name = value' a line, names as here; the command line wins"},
                                     {"help", "", "print this text"}}};
  return group;
}

po::options_description described(const OptionGroup& group) {
  po::options_description description(group.title, kHelpWidth, kHelpWidth / 2);
  for (const OptionEntry& entry : group.entries) {
    const std::string name = entry.name + (entry.letter == '\0' ? "" : std::string(",") + entry.letter);
    if (entry.value.empty()) {
      description.add_options()(name.c_str(), po::bool_switch(), entry.help.c_str());
    } else {
      description.add_options()(name.c_str(), po::value<std::string>()->value_name(entry.value), entry.help.c_str());
    }
  }
  return description;
}

po::options_description described_groups(const CommandSyntax& syntax) {
  po::options_description all;
  for (const OptionGroup& group : syntax.groups) all.add(described(group));
  return all;
}

std::vector<std::string> option_names(const CommandSyntax& syntax) {
  std::vector<std::string> names;
  for (const OptionGroup& group : syntax.groups) {
    for (const OptionEntry& entry : group.entries) names.push_back(entry.name);
  }
  for (const OptionEntry& entry : general_options().entries) names.push_back(entry.name);
  return names;
}

/// Boost's complaint in this program's words; `dashes` stand before names on the command line, and not in files.
Error worded(const po::error& problem, const CommandSyntax& syntax, const std::string& dashes) {
  if (const auto* unknown = dynamic_cast<const po::unknown_option*>(&problem)) {
    std::string word = unknown->get_option_name();
    word.erase(0, word.find_first_not_of('-'));
    return usage_error("unknown option '" + dashes + word + "'; did you mean '" + dashes + nearest_name(word, option_names(syntax)) + "'?");
  }
  if (const auto* invalid = dynamic_cast<const po::invalid_bool_value*>(&problem)) {
    return usage_error("option '" + dashes + invalid->get_option_name().substr(2) + "' must be true or false");
  }
  if (const auto* twice = dynamic_cast<const po::multiple_occurrences*>(&problem)) {
    return usage_error("option '" + twice->get_option_name() + "' is given twice, but may stand once");
  }
  if (const auto* bad = dynamic_cast<const po::invalid_command_line_syntax*>(&problem)) {
    const bool has_extra = bad->kind() == po::invalid_syntax::extra_parameter;
    return usage_error("option '" + bad->get_option_name() + (has_extra ? "' takes no value" : "' needs a value"));
  }
  return usage_error(problem.what());
}

void store_command_line(const CommandSyntax& syntax, std::span<const std::string> words, po::variables_map& values) {
  po::options_description all = described_groups(syntax).add(described(general_options()));
  all.add_options()(kOperands, po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  positional.add(kOperands, -1);
  // Without guessing: a new option must never change what an abbreviation in somebody's script means.
  const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  try {
    po::store(po::command_line_parser(std::vector<std::string>(words.begin(), words.end())).options(all).positional(positional).style(style).run(),
              values);
  } catch (const po::error& problem) {
    throw worded(problem, syntax, "--");
  }
}

void store_config_file(const CommandSyntax& syntax, const std::string& path, po::variables_map& values) {
  std::ifstream file(path);
  if (!file) throw usage_error("cannot read the config file '" + path + "'");
  try {
    po::store(po::parse_config_file(file, described_groups(syntax), false), values);
  } catch (const po::error& problem) {
    throw usage_error("config file '" + path + "': " + worded(problem, syntax, "").what());
  }
}

std::map<std::string, std::string> as_texts(const po::variables_map& values) {
  std::map<std::string, std::string> texts;
  for (const auto& [name, value] : values) {
    if (const auto* text = boost::any_cast<std::string>(&value.value())) texts[name] = *text;
    const auto* is_set = boost::any_cast<bool>(&value.value());
    if (is_set != nullptr && *is_set) texts[name] = "";
  }
  return texts;
}

void require_operands(const CommandSyntax& syntax, const std::vector<std::string>& operands) {
  const std::string see_help = "; see 'hilbertring " + syntax.name + " --help'";
  const bool may_miss_last = !syntax.operands.empty() && syntax.operands.back().starts_with('[');
  if (operands.size() + (may_miss_last ? 1 : 0) < syntax.operands.size())
    throw usage_error(syntax.name + " needs " + syntax.operands[operands.size()] + see_help);
  const bool may_repeat_last = !syntax.operands.empty() && syntax.operands.back().ends_with("...");
  if (operands.size() > syntax.operands.size() && !may_repeat_last) {
    throw usage_error(syntax.name + " does not know what to do with '" + operands[syntax.operands.size()] + "'" + see_help);
  }
}

}  // namespace

Arguments::Arguments(std::string command, std::vector<std::string> operands, std::map<std::string, std::string> values)
    : command_(std::move(command)), operands_(std::move(operands)), values_(std::move(values)) {}

Arguments Arguments::with(const std::string& name, const std::string& value) const {
  Arguments changed = *this;
  changed.values_[name] = value;
  return changed;
}

std::optional<std::string> Arguments::text(const std::string& name) const { return has(name) ? std::optional(values_.at(name)) : std::nullopt; }

const std::string& Arguments::required_text(const std::string& name) const {
  if (!has(name)) throw usage_error(command_ + " needs --" + name + "; see 'hilbertring " + command_ + " --help'");
  return values_.at(name);
}

std::int64_t Arguments::required_integer(const std::string& name, std::int64_t minimum) const {
  const std::string& text = required_text(name);
  std::int64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{} || end != text.data() + text.size() || value < minimum) {
    throw usage_error("--" + name + " is '" + text + "', but must be a whole number of at least " + std::to_string(minimum));
  }
  return value;
}

std::int64_t Arguments::integer_or(const std::string& name, std::int64_t fallback, std::int64_t minimum) const {
  return has(name) ? required_integer(name, minimum) : fallback;
}

std::optional<Arguments> parse_arguments(const CommandSyntax& syntax, std::span<const std::string> words) {
  po::variables_map values;
  store_command_line(syntax, words, values);
  if (values["help"].as<bool>()) return std::nullopt;
  if (values.count("config") != 0) store_config_file(syntax, values["config"].as<std::string>(), values);
  std::vector<std::string> operands;
  if (values.count(kOperands) != 0) operands = values[kOperands].as<std::vector<std::string>>();
  require_operands(syntax, operands);
  return Arguments(syntax.name, std::move(operands), as_texts(values));
}

std::string help_text(const CommandSyntax& syntax) {
  std::ostringstream text;
  text << "usage: hilbertring " << syntax.name;
  for (const std::string& operand : syntax.operands) text << " " << operand;
  text << " [options]\n\n" << syntax.summary << "\n";
  for (const OptionGroup& group : syntax.groups) text << "\n" << described(group);
  text << "\n" << described(general_options()) << "\nExample:\n  " << syntax.example << "\n";
  return text.str();
}

}  // namespace hilbertring
