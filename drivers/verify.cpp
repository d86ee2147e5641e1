#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "drivers/bit_comparison.h"
#include "drivers/commands.h"
#include "drivers/progress_bar.h"
#include "drivers/text_table.h"
#include "drivers/units.h"
#include "drivers/verify_rows.h"
#include "io/case_file.h"

namespace hilbertring {

namespace {

CommandSyntax syntax() {
  return {"verify",
          "Compares a result with its case in float64, with expected values, or bit for bit with another result.",
          {"RESULT.h5", "CASE.h5"},
          {{"Verify options",
            {{"against", "FILE.h5", "take the expected values from FILE.h5; the bounds still come from the case"},
             {"sample", "R", "compare R rows of each tensor, drawn at random; else all rows"},
             {"seed", "NUMBER", "of the draw; else 0"},
             {"weights-type", "TYPE", "softmax weights were rounded to TYPE before they were multiplied, as tensor cores do; else as RESULT.h5 says"},
             {"bits", "", "CASE.h5 is another result (or --against names one): all bits must be equal"}}}},
          "hilbertring verify result.h5 case.h5 --sample 200"};
}

int print_errors(std::ostream& out, const std::vector<TensorErrors>& all) {
  TextTable table(
      {{"tensor", Align::kLeft}, {"elements"}, {"max error"}, {"RMS error"}, {"of bound"}, {"", Align::kLeft}, {"worst element", Align::kLeft}});
  bool is_good = true;
  for (const TensorErrors& compared : all) {
    const Errors& errors = compared.errors;
    is_good = is_good && errors.passes();
    table.add_row({std::string(to_string(compared.name)), format_count(errors.num_elements()), format_number(errors.max_error()),
                   format_number(errors.rms_error()), format_number(errors.worst_fraction()), errors.passes() ? "PASS" : "MISS",
                   worst_element_text(compared)});
  }
  out << table.to_text() << (is_good ? "verified\n" : "MISSED: not every element is within its bound\n");
  return is_good ? 0 : kStatusMissed;
}

int verify_bits(std::ostream& out, CaseFile& a, CaseFile& b) {
  const std::vector<BitDifference> differences = compare_bits(a, b);
  if (differences.empty()) throw input_error(a.path() + ": has no results (o, lse, dq, dk, dv)");
  TextTable table({{"tensor", Align::kLeft}, {"elements"}, {"different"}, {"", Align::kLeft}, {"first difference", Align::kLeft}});
  bool is_good = true;
  for (const BitDifference& difference : differences) {
    is_good = is_good && difference.is_equal();
    table.add_row({std::string(to_string(difference.name)), format_count(difference.num_elements), format_count(difference.num_different),
                   difference.is_equal() ? "PASS" : "MISS", difference.first});
  }
  out << table.to_text() << (is_good ? "same bits\n" : "MISSED: the bits differ\n");
  return is_good ? 0 : kStatusMissed;
}

int verify_rows(Job& job, const Arguments& arguments, CaseFile& result, CaseFile& case_file, CaseFile* expected) {
  RowSample sample{.num_rows = std::nullopt, .seed = static_cast<std::uint64_t>(arguments.integer_or("seed", 0, 0))};
  if (arguments.has("sample")) sample.num_rows = arguments.required_integer("sample", 1);
  std::optional<ElementType> weights_type;
  if (const auto name = arguments.text("weights-type")) weights_type = parse_element_type(*name);
  const RowVerifier verifier(case_file, result, expected, weights_type);
  ProgressBar progress("verify", job.is_first());
  const auto errors = verifier.compare(sample, [&](std::int64_t done, std::int64_t total) { progress.update(done, total); });
  progress.relabel("");
  const std::string source = expected == nullptr ? "float64 reference of " + case_file.path() : expected->path();
  job.out() << result.path() << " against " << source << (sample.num_rows ? ", " + format_plural(*sample.num_rows, "row") + " of each tensor" : "")
            << "\n";
  if (!verifier.has_gradient()) job.out() << "no gradients to compare: the case has no /do, or the result no /dq\n";
  return print_errors(job.out(), errors);
}

int verify(Job& job, const Arguments& arguments) {
  job.require_one_rank("verify");
  const auto result = CaseFile::open(arguments.operand(0), job.communicator());
  const auto case_file = CaseFile::open(arguments.operand(1), job.communicator());
  const auto against = arguments.text("against");
  const auto expected = against ? CaseFile::open(*against, job.communicator()) : nullptr;
  if (arguments.has("bits")) return verify_bits(job.out(), *result, expected ? *expected : *case_file);
  return verify_rows(job, arguments, *result, *case_file, expected.get());
}

}  // namespace

Command verify_command() { return {syntax(), verify}; }

}  // namespace hilbertring
