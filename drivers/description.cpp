#include "drivers/description.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "core/error.h"
#include "drivers/units.h"
#include "ring/placement.h"

namespace hilbertring {

namespace {

std::string describe_heads(const Specification& specification) {
  if (specification.segment_lengths.size() == 1) return "";
  return specification.branch_heads == BranchHeads::kAll ? "; every head in every branch" : "; each branch has its own heads";
}

std::string describe_dilation(const Specification& specification) {
  const bool is_dilated = std::any_of(specification.dilation_rates.begin(), specification.dilation_rates.end(), [](std::int64_t r) { return r > 1; });
  if (!is_dilated) return "";
  std::string text = specification.dilate == Dilate::kQkv ? "; queries, keys and values dilated" : "; keys and values dilated";
  switch (specification.offset) {
    case Offset::kZero: return text + " from offset 0";
    case Offset::kHeadMod: return text + " from offset head mod r";
    case Offset::kHeadBlock: break;
  }
  return text + " from an offset by blocks of heads";
}

std::string describe_causality(const Specification& specification) {
  switch (specification.causal) {
    case Causal::kNone: return "; not causal";
    case Causal::kSequence: return "; causal by sequence";
    case Causal::kPosition: break;
  }
  return "; causal by position";
}

std::string describe_grid(const Specification& specification, std::int64_t run_length) {
  std::string text;
  for (const std::int64_t side : grid_of_run(specification, run_length)) text += (text.empty() ? "" : " x ") + format_count(side);
  return text;
}

std::string curve_name(Curve curve) {
  switch (curve) {
    case Curve::kIdentity: return "sequence order";
    case Curve::kHilbert: return "hilbert";
    case Curve::kSnake: return "snake";
    case Curve::kMorton: return "morton";
    case Curve::kFile: break;
  }
  return "the order of the case's /order";
}

std::string describe_pass(const Schedule& schedule, Pass pass) {
  const std::string who = schedule.rotation(pass) == Rotation::kKvUp ? "keys and values go up the ring" : "queries go down the ring";
  return who + ": " + format_bytes(schedule.total_bytes(pass)) + ", a dense ring sends " + format_bytes(schedule.dense_ring_bytes(pass));
}

}  // namespace

std::string describe_branches(const Specification& specification) {
  std::string text;
  for (std::size_t i = 0; i < specification.segment_lengths.size(); ++i) {
    text += (i == 0 ? "w=" : ", w=") + std::to_string(specification.segment_lengths[i]) + " r=" + std::to_string(specification.dilation_rates[i]);
  }
  return text + describe_heads(specification) + describe_dilation(specification) + describe_causality(specification);
}

std::string describe_order(const Specification& specification, std::int64_t num_tokens) {
  if (specification.curve == Curve::kIdentity) return curve_name(specification.curve);
  std::string text = curve_name(specification.curve);
  if (specification.curve != Curve::kFile) {
    const std::int64_t run_length = curve_run_length(specification, num_tokens);
    text += " over " + std::string(run_length < num_tokens ? "each run of " : "") + format_count(run_length) + " tokens on a " +
            describe_grid(specification, run_length) + " grid";
  }
  return text + (specification.curve_on == CurveOn::kQkv ? ", for q, k and v" : ", for k and v; q in sequence order");
}

std::string describe_chunks(const Specification& specification, const Shape& shape) {
  const std::int64_t chunk = specification.chunk_for(shape);
  const ChunkPlacement placement(shape.tokens, chunk, specification.placement, 1);
  const bool is_zigzag = specification.placement == Placement::kZigzag;
  return format_plural(placement.num_chunks(), "chunk") + " of " + format_count(chunk) + " tokens in " +
         format_plural(placement.num_units(), "unit") + (is_zigzag ? ", zigzag" : ", contiguous");
}

void add_specification_rows(TextTable& table, const Specification& specification, const Shape& shape) {
  table.add_row({"pattern", describe_branches(specification)});
  table.add_row({"order", describe_order(specification, shape.tokens)});
  table.add_row({"scale", format_number(specification.scale_for(shape))});
  table.add_row({"chunks", describe_chunks(specification, shape)});
}

void add_traffic_rows(TextTable& table, const Schedule& schedule) {
  if (schedule.num_ranks() == 1) return;
  table.add_row({"forward", describe_pass(schedule, Pass::kForward)});
  if (schedule.problem().with_gradient) table.add_row({"backward", describe_pass(schedule, Pass::kBackward)});
}

Orders orders_of_case(CaseFile& file, const Specification& specification) {
  std::shared_ptr<const std::vector<std::int64_t>> file_order;
  if (specification.curve == Curve::kFile) {
    if (!file.has_order()) throw input_error(file.path() + ": '/order' is missing, but the curve is 'file'");
    file_order = std::make_shared<const std::vector<std::int64_t>>(file.read_order());
  }
  return make_orders(specification, file.shape().tokens, std::move(file_order));
}

}  // namespace hilbertring
