#include "drivers/suite_writer.h"

#include <omp.h>

#include <filesystem>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/buffer.h"
#include "core/error.h"
#include "drivers/expected_values.h"
#include "drivers/order_table.h"
#include "drivers/partial_directory.h"
#include "drivers/random_order.h"
#include "drivers/random_tensor.h"
#include "drivers/slab.h"
#include "io/files.h"

namespace hilbertring {

namespace {

namespace fs = std::filesystem;

constexpr const char* kWhat = "a regression set";

/// Whether nothing but a set of this kind lies there: what --force may remove.
bool holds_a_set(const fs::path& directory) {
  bool has_manifest = false;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const bool is_manifest = entry.path().filename() == kManifestName;
    has_manifest = has_manifest || is_manifest;
    if (!is_manifest && entry.path().extension() != ".h5") return false;
  }
  return has_manifest;
}

Range<SequenceIndex> all_tokens(const Shape& shape) { return {SequenceIndex(0), SequenceIndex(shape.tokens)}; }

std::vector<LoadedTensor> make_inputs(const SuiteCase& suite_case) {
  const RandomInputs random{.shape = suite_case.shape, .type = suite_case.type, .seed = suite_case.seed};
  std::vector<LoadedTensor> inputs;
  for (const TensorName name : input_names(suite_case.has_gradient)) {
    Buffer elements(slab_bytes(name, suite_case.shape, suite_case.type, suite_case.shape.tokens), nullptr);
    fill_random_tokens(random, name, all_tokens(suite_case.shape), elements.bytes(), omp_get_max_threads());
    inputs.emplace_back(name, suite_case.type, suite_case.shape, std::move(elements));
  }
  return inputs;
}

Orders make_case_orders(const SuiteCase& suite_case) {
  const std::int64_t num_tokens = suite_case.shape.tokens;
  std::shared_ptr<const std::vector<std::int64_t>> drawn;
  if (suite_case.specification.curve == Curve::kFile) {
    drawn = std::make_shared<const std::vector<std::int64_t>>(random_order(num_tokens, suite_case.seed));
  }
  return make_orders(suite_case.specification, num_tokens, drawn);
}

/// /order is the curve's in every case, so that a reader needs no curve: the keys' order, which is the queries', too, unless curve_on is kv.
SuiteEntry write_case(const std::string& directory, const SuiteCase& suite_case) {
  const Orders orders = make_case_orders(suite_case);
  const std::vector<LoadedTensor> inputs = make_inputs(suite_case);
  const ExpectedValues expected = expected_values(suite_case.shape, suite_case.specification, orders, inputs);

  const std::string path = SuiteEntry{.suite_case = suite_case}.path_in(directory);
  const auto file = FileWriter::create(path, suite_case.layout(), false, MPI_COMM_SELF);
  for (const LoadedTensor& input : inputs) file->write(input.name(), all_tokens(suite_case.shape), input.bytes());
  for (const auto& [name, values] : expected) file->write(name, all_tokens(suite_case.shape), std::as_bytes(std::span(values)));
  file->write_order(OrderTable(*orders.keys).index_of);
  file->set_attribute("set", suite_title());
  file->set_attribute("covers", suite_case.covers);
  file->set_attribute("seed", std::to_string(suite_case.seed));
  file->commit();
  return measured_entry(directory, suite_case);
}

}  // namespace

SuiteManifest write_suite(const std::string& directory, bool may_replace,
                          const std::function<void(std::int64_t done, std::int64_t total)>& progress) {
  refuse_taken_directory(directory, kWhat, may_replace, holds_a_set);
  PartialDirectory partial(directory);
  SuiteManifest manifest;
  for (const SuiteCase& suite_case : suite_cases()) {
    manifest.entries.push_back(write_case(partial.where(), suite_case));
    progress(static_cast<std::int64_t>(manifest.entries.size()), static_cast<std::int64_t>(suite_cases().size()));
  }
  write_text_file(manifest_path(partial.where()), to_json(manifest));
  refuse_taken_directory(directory, kWhat, may_replace, holds_a_set);
  partial.publish();
  return manifest;
}

}  // namespace hilbertring
