#include "drivers/suite_verdict.h"

#include <algorithm>

#include "core/error.h"
#include "drivers/text_table.h"
#include "drivers/units.h"
#include "io/case_file.h"

namespace hilbertring {

namespace {

std::vector<std::string> row_of(const CaseVerdict& verdict) {
  std::vector<std::string> cells = {verdict.name, verdict.type};
  for (const TensorErrors& compared : verdict.errors) cells.push_back(format_number(compared.errors.worst_fraction()));
  constexpr std::size_t kFirstAfterTensors = 7;
  cells.resize(kFirstAfterTensors);
  cells.emplace_back(verdict.passes() ? "PASS" : "MISS");
  cells.push_back(format_seconds(verdict.seconds));
  return cells;
}

void print_misses(std::ostream& out, const CaseVerdict& verdict) {
  for (const TensorErrors& compared : verdict.errors) {
    if (!compared.errors.passes()) out << "MISS " << verdict.name << ": " << to_string(compared.name) << ", " << worst_element_text(compared) << "\n";
  }
}

}  // namespace

bool CaseVerdict::passes() const {
  return !errors.empty() && std::all_of(errors.begin(), errors.end(), [](const TensorErrors& compared) { return compared.errors.passes(); });
}

CaseVerdict judge_result(const SuiteEntry& entry, const std::string& case_path, const std::string& result_path) {
  const auto case_file = CaseFile::open(case_path, MPI_COMM_SELF);
  const auto result = CaseFile::open(result_path, MPI_COMM_SELF);
  const RowVerifier verifier(*case_file, *result, case_file.get());
  // A pass that was left out must not look like one that passed.
  if (verifier.has_gradient() != entry.suite_case.has_gradient) throw failure("the result's gradients are missing");
  return {.name = entry.suite_case.name, .type = std::string(to_string(entry.suite_case.type)), .errors = verifier.compare({}, {})};
}

bool print_verdicts(std::ostream& out, const std::vector<CaseVerdict>& verdicts) {
  TextTable table({{"case", Align::kLeft}, {"type", Align::kLeft}, {"o"}, {"lse"}, {"dq"}, {"dk"}, {"dv"}, {"", Align::kLeft}, {"run"}});
  for (const CaseVerdict& verdict : verdicts) table.add_row(row_of(verdict));
  out << table.to_text() << "(o ... dv: largest error as a fraction of its bound)\n";
  for (const CaseVerdict& verdict : verdicts) print_misses(out, verdict);
  const auto num_missed = std::count_if(verdicts.begin(), verdicts.end(), [](const CaseVerdict& verdict) { return !verdict.passes(); });
  const std::string num_cases = format_plural(static_cast<std::int64_t>(verdicts.size()), "case");
  out << (num_missed == 0 ? num_cases + ": all verified\n" : "MISSED: " + format_count(num_missed) + " of " + num_cases + "\n");
  return num_missed == 0;
}

}  // namespace hilbertring
