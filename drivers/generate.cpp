#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/buffer.h"
#include "core/error.h"
#include "core/random.h"
#include "drivers/commands.h"
#include "drivers/pattern_options.h"
#include "drivers/progress_bar.h"
#include "drivers/random_order.h"
#include "drivers/slab.h"
#include "drivers/units.h"
#include "io/case_file.h"
#include "ring/redistribution.h"

namespace hilbertring {

namespace {

/// Numbers made at a time: bounds the memory of a rank, and is long enough for large writes.
constexpr std::int64_t kPieceBytes = std::int64_t{32} << 20;

struct Input {
  TensorName name;
  TensorId id;
};

std::vector<Input> inputs_of(bool has_gradient) {
  std::vector<Input> inputs = {{TensorName::kQ, TensorId::kQ}, {TensorName::kK, TensorId::kK}, {TensorName::kV, TensorId::kV}};
  if (has_gradient) inputs.push_back({TensorName::kDo, TensorId::kDo});
  return inputs;
}

void fill_elements(std::span<std::byte> out, ElementType type, std::uint64_t seed, TensorId tensor, std::int64_t first_index,
                   std::int64_t first_element, std::int64_t num_elements) {
#pragma omp parallel for
  for (std::int64_t i = 0; i < num_elements; ++i) store_element(out.data(), type, first_element + i, normal_at(seed, tensor, first_index + i));
}

/// Tokens of a tensor as the file has them: element (b, t, h, d) is the normal number of its row-major index in the whole tensor.
void fill_tokens(std::span<std::byte> out, const Input& input, const FileLayout& layout, ElementType type, std::uint64_t seed,
                 Range<SequenceIndex> tokens) {
  const std::int64_t token_elements = heads_of(input.name, layout.shape) * layout.shape.head_dim;
  const std::int64_t num_elements = tokens.size() * token_elements;
  for (std::int64_t b = 0; b < layout.shape.batch; ++b) {
    const std::int64_t first_index = (b * layout.shape.tokens + tokens.begin.value) * token_elements;
    fill_elements(out, type, seed, input.id, first_index, b * num_elements, num_elements);
  }
}

/// Cuts this rank's tokens into as many pieces as the longest slab needs: writing is collective, so that all ranks must write equally often.
void write_tensor(const Job& job, const Input& input, const FileLayout& layout, ElementType type, std::uint64_t seed, FileWriter& file) {
  const std::int64_t piece = std::max<std::int64_t>(kPieceBytes / slab_bytes(input.name, layout.shape, type, 1), 1);
  const Range<SequenceIndex> mine = sequence_slab(layout.shape.tokens, job.num_ranks(), Rank(job.rank()));
  const std::int64_t longest = sequence_slab(layout.shape.tokens, job.num_ranks(), Rank(0)).size();
  Buffer buffer(slab_bytes(input.name, layout.shape, type, std::min(piece, longest)), nullptr);
  ProgressBar progress("generate " + std::string(to_string(input.name)), job.is_first());
  for (std::int64_t done = 0; done < longest; done += piece) {
    const Range<SequenceIndex> tokens = intersection(mine, {mine.begin + done, mine.begin + done + piece});
    const auto rows = buffer.bytes().first(static_cast<std::size_t>(slab_bytes(input.name, layout.shape, type, tokens.size())));
    fill_tokens(rows, input, layout, type, seed, tokens);
    file.write(input.name, tokens, rows);
    progress.update(done, longest);
  }
}

CommandSyntax syntax() {
  return {"generate",
          "Makes a case file of standard normal numbers: the same bits for a seed, on any machine and number of ranks.",
          {"CASE.h5"},
          {shape_options(),
           {"Data",
            {{"type", "TYPE", "float16, bfloat16, float32 or float64; else float32"},
             {"seed", "NUMBER", "of the random numbers; else 0"},
             {"gradient", "", "also make /do, the upstream gradient, which asks for the backward pass"},
             {"force", "", "replace CASE.h5 if it exists"}}},
           pattern_options()},
          "hilbertring generate case.h5 --tokens 8192 --heads 8 --head-dim 64 --gradient --preset longnet"};
}

int generate(Job& job, const Arguments& arguments) {
  const std::string& path = arguments.operand(0);
  const Shape shape = shape_from(arguments);
  const ElementType type = parse_element_type(arguments.text("type").value_or("float32"));
  const auto seed = static_cast<std::uint64_t>(arguments.integer_or("seed", 0, 0));
  require_pattern(arguments, "generate");
  const Specification specification = with_pattern_options({}, arguments, shape, job.out());
  specification.validate(shape);

  FileLayout layout{.shape = shape, .specification = specification, .datasets = {}, .has_order = specification.curve == Curve::kFile};
  const std::vector<Input> inputs = inputs_of(arguments.has("gradient"));
  for (const Input& input : inputs) layout.datasets.emplace_back(input.name, type);
  const auto file = FileWriter::create(path, layout, arguments.has("force"), job.communicator());
  job.together([&] {
    for (const Input& input : inputs) write_tensor(job, input, layout, type, seed, *file);
    if (layout.has_order) file->write_order(random_order(shape.tokens, seed));
    file->set_attribute("seed", std::to_string(seed));
    file->commit();
  });

  std::int64_t num_bytes = 0;
  for (const Input& input : inputs) num_bytes += slab_bytes(input.name, shape, type, shape.tokens);
  job.out() << "wrote " << path << ": " << to_string(shape) << " " << to_string(type) << ", seed " << seed << ", " << format_bytes(num_bytes) << "\n";
  return 0;
}

}  // namespace

Command generate_command() { return {syntax(), generate}; }

}  // namespace hilbertring
