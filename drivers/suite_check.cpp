#include "drivers/suite_check.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <ostream>
#include <utility>
#include <vector>

#include "core/error.h"
#include "drivers/commands.h"
#include "drivers/progress_bar.h"
#include "drivers/stopwatch.h"
#include "drivers/suite_manifest.h"
#include "drivers/suite_verdict.h"
#include "drivers/transport_choice.h"
#include "drivers/units.h"
#include "io/agreement.h"
#include "io/files.h"

namespace hilbertring {

namespace {

namespace fs = std::filesystem;

/// The first rank looks at the files; all get its manifest, or its error.
SuiteManifest intact_manifest(const FileRanks& ranks, const std::string& directory) {
  const std::string path = manifest_path(directory);
  std::string text;
  ranks.on_first_rank([&] {
    text = read_text_file(path);
    require_intact(directory, manifest_from_json(text, path));
  });
  return manifest_from_json(ranks.broadcast(text, 0), path);
}

SuiteManifest chosen_cases(SuiteManifest manifest, const Arguments& arguments) {
  const auto only = arguments.text("only");
  if (!only) return manifest;
  std::vector<std::string> names;
  for (const SuiteEntry& entry : manifest.entries) {
    if (entry.suite_case.name == *only) return {.entries = {entry}};
    names.push_back(entry.suite_case.name);
  }
  throw usage_error("unknown case '" + *only + "'; did you mean '" + nearest_name(*only, names) + "'?");
}

/// A directory for results, which the first rank makes and removes; all ranks know its name.
class ScratchDirectory {
 public:
  ScratchDirectory(const FileRanks& ranks, const fs::path& parent) {
    std::string name = parent / ".hilbertring-suite-XXXXXX";
    ranks.on_first_rank([&] {
      if (::mkdtemp(name.data()) == nullptr) {
        throw failure("no directory for results can be made in '" + parent.string() + "'; --scratch names one that can be written");
      }
      is_mine_ = true;
    });
    path_ = ranks.broadcast(name, 0);
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    if (is_mine_) fs::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  std::string file(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
  bool is_mine_ = false;
};

/// The words of `run` for one case. Results come in the type that is computed in: what is measured is the computation, not the rounding of its
/// result.
Arguments run_arguments(const Arguments& arguments, const SuiteCase& suite_case, const std::string& case_path, const std::string& result_path) {
  std::map<std::string, std::string> values = {{"output", result_path}, {"output-type", std::string(to_string(arithmetic_type(suite_case.type)))}};
  for (const OptionEntry& entry : suite_run_options().entries) {
    if (const auto value = arguments.text(entry.name)) values[entry.name] = *value;
  }
  return {"run", {case_path}, values};
}

/// Runs and verifies one case. Collective; the verdict is the first rank's. An error names the case.
CaseVerdict check_case(Job& job, const FileRanks& ranks, const SuiteEntry& entry, const Arguments& arguments, const std::string& result_path) {
  std::ostream nowhere(nullptr);
  CaseVerdict verdict;
  try {
    const Stopwatch stopwatch;
    run_case(job, arguments, nowhere);
    const double seconds = stopwatch.seconds();
    ranks.on_first_rank([&] {
      verdict = judge_result(entry, arguments.operand(0), result_path);
      verdict.seconds = seconds;
      fs::remove(result_path);
    });
  } catch (const Error& error) {
    throw Error(error.kind(), error.library(), "case '" + entry.suite_case.name + "': " + error.message(), error.rank());
  }
  return verdict;
}

/// Refuses what no case could run with, before anything is read.
std::string describe_setting(const Job& job, const Arguments& arguments) {
  const RankLayout layout = choose_layout(job, arguments);
  if (layout.num_ranks > kMaxSuiteRanks) {
    throw usage_error("the set's small cases run on at most " + std::to_string(kMaxSuiteRanks) + " ranks, not on " +
                      std::to_string(layout.num_ranks));
  }
  return format_plural(layout.num_ranks, "rank") + " (" + to_string(layout.transport) + "), " + format_plural(layout.num_threads, "thread") +
         " each, backend " + std::string(to_string(layout.backend.backend));
}

}  // namespace

OptionGroup suite_run_options() {
  OptionGroup group = layout_options();
  group.title = "Options of the runs";
  return group;
}

int check_suite(Job& job, const Arguments& arguments, const std::string& directory) {
  const std::string setting = describe_setting(job, arguments);
  const FileRanks ranks(job.communicator());
  const SuiteManifest whole = intact_manifest(ranks, directory);
  const SuiteManifest manifest = chosen_cases(whole, arguments);
  job.out() << directory << ": " << suite_title() << ", intact, data sha256 " << whole.data_sha256() << "\n" << setting << "\n\n";

  const ScratchDirectory scratch(ranks, arguments.text("scratch").value_or(directory_of(directory)));
  ProgressBar progress("check", job.is_first());
  std::vector<CaseVerdict> verdicts;
  for (const SuiteEntry& entry : manifest.entries) {
    const std::string result_path = scratch.file(entry.suite_case.file_name());
    const Arguments of_run = run_arguments(arguments, entry.suite_case, entry.path_in(directory), result_path);
    verdicts.push_back(check_case(job, ranks, entry, of_run, result_path));
    progress.update(static_cast<std::int64_t>(verdicts.size()), static_cast<std::int64_t>(manifest.entries.size()));
  }
  progress.relabel("");
  const bool has_missed = job.is_first() && !print_verdicts(job.out(), verdicts);
  return static_cast<int>(job.max(has_missed ? kStatusMissed : 0));
}

}  // namespace hilbertring
