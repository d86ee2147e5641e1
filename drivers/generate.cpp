#include <omp.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/buffer.h"
#include "core/error.h"
#include "drivers/commands.h"
#include "drivers/pattern_options.h"
#include "drivers/progress_bar.h"
#include "drivers/random_order.h"
#include "drivers/random_tensor.h"
#include "drivers/slab.h"
#include "drivers/units.h"
#include "io/case_file.h"
#include "ring/redistribution.h"

namespace hilbertring {

namespace {

/// Numbers made at a time: bounds the memory of a rank, and is long enough for large writes.
constexpr std::int64_t kPieceBytes = std::int64_t{32} << 20;

/// Cuts this rank's tokens into as many pieces as the longest slab needs: writing is collective, so that all ranks must write equally often.
void write_tensor(const Job& job, TensorName name, const RandomInputs& inputs, FileWriter& file) {
  const std::int64_t piece = std::max<std::int64_t>(kPieceBytes / slab_bytes(name, inputs.shape, inputs.type, 1), 1);
  const Range<SequenceIndex> mine = sequence_slab(inputs.shape.tokens, job.num_ranks(), Rank(job.rank()));
  const std::int64_t longest = sequence_slab(inputs.shape.tokens, job.num_ranks(), Rank(0)).size();
  Buffer buffer(slab_bytes(name, inputs.shape, inputs.type, std::min(piece, longest)), nullptr);
  ProgressBar progress("generate " + std::string(to_string(name)), job.is_first());
  for (std::int64_t done = 0; done < longest; done += piece) {
    const Range<SequenceIndex> tokens = intersection(mine, {mine.begin + done, mine.begin + done + piece});
    const auto rows = buffer.bytes().first(static_cast<std::size_t>(slab_bytes(name, inputs.shape, inputs.type, tokens.size())));
    fill_random_tokens(inputs, name, tokens, rows, omp_get_max_threads());
    file.write(name, tokens, rows);
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
  const std::vector<TensorName> names = input_names(arguments.has("gradient"));
  for (const TensorName name : names) layout.datasets.emplace_back(name, type);
  const auto file = FileWriter::create(path, layout, arguments.has("force"), job.communicator());
  job.together([&] {
    for (const TensorName name : names) write_tensor(job, name, {.shape = shape, .type = type, .seed = seed}, *file);
    if (layout.has_order) file->write_order(random_order(shape.tokens, seed));
    file->set_attribute("seed", std::to_string(seed));
    file->commit();
  });

  std::int64_t num_bytes = 0;
  for (const TensorName name : names) num_bytes += slab_bytes(name, shape, type, shape.tokens);
  job.out() << "wrote " << path << ": " << to_string(shape) << " " << to_string(type) << ", seed " << seed << ", " << format_bytes(num_bytes) << "\n";
  return 0;
}

}  // namespace

Command generate_command() { return {syntax(), generate}; }

}  // namespace hilbertring
