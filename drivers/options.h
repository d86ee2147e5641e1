#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace hilbertring {

/// One option of a command. `value` is the placeholder that help shows ("N", "FILE"); empty: the option is a flag without a value.
struct OptionEntry {
  std::string name;
  std::string value;
  std::string help;
  char letter = '\0';  ///< short form, as in -o; '\0': none
};

struct OptionGroup {
  std::string title;
  std::vector<OptionEntry> entries;
};

/// What a command takes: file names in their order, then options. The same options may stand in a file given with --config.
struct CommandSyntax {
  std::string name;
  std::string summary;                ///< one line
  std::vector<std::string> operands;  ///< as help shows them, "CASE.h5"; the last may be left out ("[DIR]") or stand several times ("FILES...")
  std::vector<OptionGroup> groups;
  std::string example;  ///< a whole command line
};

/// The words of one command, sorted out. Values are checked when they are asked for; every complaint is a usage_error that names the option, the
/// value and the rule.
class Arguments {
 public:
  Arguments(std::string command, std::vector<std::string> operands, std::map<std::string, std::string> values);

  /// The same words with one value more, or another: for commands that go through a list of values.
  Arguments with(const std::string& name, const std::string& value) const;

  bool has(const std::string& name) const { return values_.count(name) != 0; }
  std::size_t num_operands() const { return operands_.size(); }
  const std::string& operand(std::size_t index) const { return operands_[index]; }
  std::optional<std::string> text(const std::string& name) const;
  const std::string& required_text(const std::string& name) const;
  /// A whole number of at least `minimum`.
  std::int64_t required_integer(const std::string& name, std::int64_t minimum) const;
  std::int64_t integer_or(const std::string& name, std::int64_t fallback, std::int64_t minimum) const;

 private:
  std::string command_;
  std::vector<std::string> operands_;
  std::map<std::string, std::string> values_;
};

/// Sorts out the words after the command's name. nullopt: --help is among them. The command line wins over the --config file. Throws usage_error:
/// unknown option (with the nearest one), option given twice, value or operand missing or too many, config file that can't be read or has unknown
/// keys.
std::optional<Arguments> parse_arguments(const CommandSyntax& syntax, std::span<const std::string> words);

/// Usage, summary, groups of options and the example.
std::string help_text(const CommandSyntax& syntax);

}  // namespace hilbertring
