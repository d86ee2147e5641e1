#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "drivers/commands.h"
#include "drivers/description.h"
#include "drivers/text_table.h"
#include "drivers/units.h"
#include "hilbert/locality.h"
#include "io/case_file.h"
#include "ring/placement.h"

namespace hilbertring {

namespace {

/// More ranks than these are shown by the first and the last of them.
constexpr std::int64_t kMaxShardLines = 16;

CommandSyntax syntax() {
  return {"info",
          "Shows what a case or a result holds, and checks its checksums.",
          {"FILE.h5"},
          {{"Info options",
            {{"ranks", "P", "also show which tokens each of P ranks would hold"}, {"no-checksums", "", "do not read the data to check it"}}}},
          "hilbertring info case.h5 --ranks 4"};
}

std::string shape_text(const std::vector<std::int64_t>& sizes) {
  std::string text;
  for (const std::int64_t size : sizes) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

std::int64_t num_bytes(const DatasetInfo& info) {
  std::int64_t bytes = size_bytes(info.type);
  for (const std::int64_t size : info.shape) bytes *= size;
  return bytes;
}

/// Prints the datasets; returns whether no checksum is wrong.
bool print_datasets(std::ostream& out, CaseFile& file, bool checks_sums) {
  TextTable table({{"dataset", Align::kLeft}, {"type", Align::kLeft}, {"shape", Align::kLeft}, {"size"}, {"checksum", Align::kLeft}});
  bool is_good = true;
  for (const DatasetInfo& info : file.datasets()) {
    std::string verdict = info.sha256 ? "sha256 not checked" : "none";
    if (info.sha256 && checks_sums) {
      const bool is_equal = dataset_sha256(file, info.name) == *info.sha256;
      verdict = is_equal ? "sha256 ok" : "sha256 MISMATCH";
      is_good = is_good && is_equal;
    }
    table.add_row({std::string("/").append(to_string(info.name)), std::string(to_string(info.type)), shape_text(info.shape),
                   format_bytes(num_bytes(info)), verdict});
  }
  if (file.has_order()) {
    table.add_row({"/order", "int64", std::to_string(file.shape().tokens), format_bytes(file.shape().tokens * 8), "none"});
  }
  out << table.to_text();
  return is_good;
}

void print_specification(std::ostream& out, const CaseFile& file) {
  TextTable table = name_value_table();
  table.add_row({"shape", to_string(file.shape()) + " " + std::string(to_string(file.type()))});
  add_specification_rows(table, file.specification(), file.shape());
  table.add_row({"spec", to_json(file.specification())});
  out << table.to_text();
}

void print_attributes(std::ostream& out, const CaseFile& file) {
  TextTable table = name_value_table();
  bool has_any = false;
  for (const auto& [name, value] : file.attributes()) {
    if (name == "spec") continue;
    table.add_row({name, value});
    has_any = true;
  }
  if (has_any) out << "\nattributes\n" << table.to_text(2);
}

void print_locality(std::ostream& out, CaseFile& file) {
  const Specification& specification = file.specification();
  std::shared_ptr<const std::vector<std::int64_t>> order;
  if (specification.curve == Curve::kFile) {
    if (!file.has_order()) return;  // a result: the order is its case's
    order = std::make_shared<const std::vector<std::int64_t>>(file.read_order());
  }
  out << "\nlocality\n" << measure_locality(specification, file.shape().tokens, {}, order).to_text();
}

std::string span_text(const std::vector<Range<Position>>& spans) {
  std::string text;
  for (const auto& span : spans) {
    if (!span.is_empty()) text += (text.empty() ? "" : ", ") + format_count(span.begin.value) + " - " + format_count(span.end.value - 1);
  }
  return text;
}

void print_shards(std::ostream& out, const CaseFile& file, std::int64_t num_ranks) {
  const Specification& specification = file.specification();
  const Problem problem{.shape = file.shape(), .type = file.type(), .specification = specification};
  problem.validate(num_ranks);
  const ChunkPlacement placement(file.shape().tokens, specification.chunk_for(file.shape()), specification.placement, num_ranks);
  TextTable table({{"rank"}, {"units"}, {"tokens"}, {"positions", Align::kLeft}});
  for (Rank rank(0); rank < Rank(num_ranks); ++rank) {
    const bool is_left_out = num_ranks > kMaxShardLines && rank.value >= kMaxShardLines / 2 && rank.value < num_ranks - kMaxShardLines / 2;
    if (is_left_out && rank.value == kMaxShardLines / 2) table.add_row({"...", "...", "...", "..."});
    if (is_left_out) continue;
    table.add_row({std::to_string(rank.value), format_count(placement.units(rank).size()), format_count(placement.num_rows(rank)),
                   span_text(placement.spans(rank))});
  }
  out << "\nshards on " << format_plural(num_ranks, "rank") << "\n" << table.to_text(2);
}

int info(Job& job, const Arguments& arguments) {
  job.require_one_rank("info");
  const auto file = CaseFile::open(arguments.operand(0), job.communicator());
  print_specification(job.out(), *file);
  job.out() << "\n";
  const bool is_good = print_datasets(job.out(), *file, !arguments.has("no-checksums"));
  print_attributes(job.out(), *file);
  print_locality(job.out(), *file);
  if (arguments.has("ranks")) print_shards(job.out(), *file, arguments.required_integer("ranks", 1));
  if (!is_good) job.out() << "\nMISSED: the data are not those that were written\n";
  return is_good ? 0 : kStatusMissed;
}

}  // namespace

Command info_command() { return {syntax(), info}; }

}  // namespace hilbertring
