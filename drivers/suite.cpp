#include <ostream>
#include <string>
#include <vector>

#include "core/error.h"
#include "drivers/commands.h"
#include "drivers/partial_directory.h"
#include "drivers/progress_bar.h"
#include "drivers/stopwatch.h"
#include "drivers/suite_cases.h"
#include "drivers/suite_check.h"
#include "drivers/suite_writer.h"
#include "drivers/text_table.h"
#include "drivers/units.h"
#include "io/agreement.h"

namespace hilbertring {

namespace {

CommandSyntax syntax() {
  return {"suite",
          "Makes a regression set: small cases of every option, with expected results; --check runs and verifies them all.",
          {"[DIR]"},
          {{"Set options",
            {{"list", "", "print the cases and what they cover; write nothing"}, {"force", "", "replace the regression set that DIR holds"}}},
           {"Check options",
            {{"check", "", "check the sums of the set in DIR, run every case and verify its results"},
             {"only", "CASE", "run this case alone"},
             {"scratch", "TMP_DIR", "where results lie until they are verified, seen by all ranks; else beside DIR"}}},
           suite_run_options()},
          "hilbertring suite regression && mpirun -np 3 hilbertring suite regression --check"};
}

void refuse(const Arguments& arguments, const std::vector<std::string>& names, const std::string& reason) {
  for (const std::string& name : names) {
    if (arguments.has(name)) throw usage_error(std::string("suite takes --").append(name).append(" ").append(reason));
  }
}

void refuse_contradictions(const Arguments& arguments) {
  if (arguments.has("check")) return refuse(arguments, {"list", "force"}, "without --check only");
  std::vector<std::string> of_check = {"only", "scratch"};
  for (const OptionEntry& entry : suite_run_options().entries) of_check.push_back(entry.name);
  refuse(arguments, of_check, "with --check only");
  if (arguments.has("list")) refuse(arguments, {"force"}, "without --list only");
}

int list_cases(std::ostream& out) {
  TextTable table({{"case", Align::kLeft}, {"type", Align::kLeft}, {"shape", Align::kLeft}, {"covers", Align::kLeft}});
  for (const SuiteCase& suite_case : suite_cases()) {
    table.add_row({suite_case.name, std::string(to_string(suite_case.type)), to_string(suite_case.shape), suite_case.covers});
  }
  out << suite_title() << ": " << format_plural(static_cast<std::int64_t>(suite_cases().size()), "case") << "\n" << table.to_text();
  return 0;
}

std::string directory_operand(const Arguments& arguments) {
  if (arguments.num_operands() == 0) throw usage_error("suite needs DIR; see 'hilbertring suite --help'");
  return directory_name(arguments.operand(0));
}

/// One process does it; the other ranks of a job wait.
int write_set(Job& job, const Arguments& arguments, const std::string& directory) {
  const FileRanks ranks(job.communicator());
  const Stopwatch stopwatch;
  ProgressBar progress("suite", job.is_first());
  ranks.on_first_rank([&] {
    const SuiteManifest manifest =
        write_suite(directory, arguments.has("force"), [&](std::int64_t done, std::int64_t total) { progress.update(done, total); });
    progress.relabel("");
    job.out() << "wrote " << directory << ": " << suite_title() << ", " << format_plural(static_cast<std::int64_t>(manifest.entries.size()), "case")
              << ", " << format_bytes(manifest.num_bytes()) << ", in " << format_seconds(stopwatch.seconds()) << ", data sha256 "
              << manifest.data_sha256() << "\n";
  });
  return 0;
}

int suite(Job& job, const Arguments& arguments) {
  refuse_contradictions(arguments);
  if (arguments.has("list")) return list_cases(job.out());
  const std::string directory = directory_operand(arguments);
  return arguments.has("check") ? check_suite(job, arguments, directory) : write_set(job, arguments, directory);
}

}  // namespace

Command suite_command() { return {syntax(), suite}; }

}  // namespace hilbertring
