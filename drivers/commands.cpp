#include "drivers/commands.h"

#include <optional>

#include "core/error.h"
#include "core/specification.h"
#include "drivers/network_cards.h"
#include "drivers/text_table.h"
#include "drivers/version.h"

namespace hilbertring {

namespace {

const std::vector<Command>& commands() {
  static const std::vector<Command> all = {generate_command(),  run_command(),   verify_command(), info_command(),  plan_command(),
                                           calibrate_command(), bench_command(), suite_command(),  report_command()};
  return all;
}

std::string overview() {
  TextTable table = name_value_table();
  for (const Command& command : commands()) table.add_row({command.syntax.name, command.syntax.summary});
  return "usage: hilbertring COMMAND [file names] [options]\n\nExact attention over long sequences: MPI ranks in a ring, tokens in Hilbert "
         "order.\n\nCommands:\n" +
         table.to_text(2) +
         "\n'hilbertring COMMAND --help' tells a command's options, 'hilbertring --version' the build.\n"
         "Exit status: 0 good, 1 verification missed, 2 usage, 3 bad input file, 4 failure while running, 5 stopped and saved.\n";
}

const Command& command_named(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (command.syntax.name == name) return command;
    names.push_back(command.syntax.name);
  }
  throw usage_error("unknown command '" + name + "'; did you mean '" + nearest_name(name, names) + "'?");
}

}  // namespace

int run_program(Job& job, std::span<const std::string> words) {
  check_network_cards();
  if (words.empty()) throw usage_error("no command is given; see 'hilbertring --help'");
  if (words.front() == "--help" || words.front() == "-h" || words.front() == "help") {
    job.out() << overview();
    return 0;
  }
  if (words.front() == "--version") {
    job.out() << version_text();
    return 0;
  }
  const Command& command = command_named(words.front());
  const std::optional<Arguments> arguments = parse_arguments(command.syntax, words.subspan(1));
  if (!arguments) {
    job.out() << help_text(command.syntax);
    return 0;
  }
  return command.run(job, *arguments);
}

}  // namespace hilbertring
