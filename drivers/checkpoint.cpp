#include "drivers/checkpoint.h"

#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "drivers/pass_totals.h"
#include "drivers/version.h"
#include "io/agreement.h"
#include "io/checksum.h"
#include "io/seal.h"
#include "ring/placement.h"

namespace hilbertring {

namespace {

namespace fs = std::filesystem;

constexpr const char* kAttribute = "checkpoint";
/// Of the files of a run, newest first.
constexpr std::array<const char*, 3> kEndings = {".checkpoint-new", ".checkpoint", ".checkpoint-old"};

nlohmann::ordered_json to_json(const PassTotals& totals) {
  return {{"seconds", totals.seconds},
          {"waiting_seconds", totals.waiting_seconds},
          {"allowed_pairs", totals.allowed_pairs},
          {"sent_bytes", totals.sent_bytes},
          {"predicted_bytes", totals.predicted_bytes}};
}

PassTotals totals_from(const nlohmann::json& json) {
  return {json.at("seconds"), json.at("waiting_seconds"), json.at("allowed_pairs"), json.at("sent_bytes"), json.at("predicted_bytes")};
}

std::int64_t num_lags(const Problem& problem) {
  const Specification& specification = problem.specification;
  return ChunkPlacement(problem.shape.tokens, specification.chunk_for(problem.shape), specification.placement, 1).num_units();
}

/// A place that does not exist would end a pass that is not over.
RunPlace place_from(const nlohmann::json& json, const Problem& problem, const std::string& path) {
  const RunPlace place{json.at("pass") == std::string(name_of(Pass::kForward)) ? Pass::kForward : Pass::kBackward, json.at("next_lag")};
  const bool is_pass = json.at("pass") == std::string(name_of(place.pass)) && (place.pass == Pass::kForward || problem.with_gradient);
  if (is_pass && place.lag >= 0 && place.lag < num_lags(problem)) return place;
  throw input_error(path + ": goes on with lag " + std::to_string(place.lag) + " of the pass " + json.at("pass").dump() + ", which this run has not");
}

/// All that a checkpoint says beside its state.
nlohmann::ordered_json description_of(const RunIdentity& identity) {
  return {{"program_version", program_version()},
          {"shape", to_string(identity.problem.shape)},
          {"type", std::string(to_string(identity.problem.type))},
          {"with_gradient", identity.problem.with_gradient},
          {"backend", identity.backend},
          {"inputs", identity.inputs}};
}

std::optional<std::string> attribute_of(const CaseFile& file) {
  for (const auto& [name, value] : file.attributes()) {
    if (name == kAttribute) return value;
  }
  return std::nullopt;
}

}  // namespace

bool asks_for_checkpoints(const Arguments& arguments) {
  return arguments.has("checkpoint-every") || arguments.has("checkpoint-dir") || arguments.has("resume");
}

std::vector<TensorName> state_names(Pass pass) {
  if (pass == Pass::kForward) return {TensorName::kRowMax, TensorName::kRowSum, TensorName::kO};
  return {TensorName::kRowMax, TensorName::kO, TensorName::kDq, TensorName::kDk, TensorName::kDv};
}

std::string input_fingerprint(CaseFile& file, const Problem& problem) {
  std::string sums;
  if (problem.specification.curve == Curve::kFile) {
    const std::vector<std::int64_t> order = file.read_order();
    Sha256 sum;
    sum.add(std::as_bytes(std::span(order)));
    sums = "order:" + sum.finish();
  }
  for (const DatasetInfo& dataset : file.datasets()) {
    const bool is_input = dataset.name == TensorName::kQ || dataset.name == TensorName::kK || dataset.name == TensorName::kV ||
                          (dataset.name == TensorName::kDo && problem.with_gradient);
    if (!is_input) continue;
    if (!dataset.sha256) {
      std::error_code ignored;
      const auto changed = fs::last_write_time(file.path(), ignored).time_since_epoch().count();
      return std::to_string(fs::file_size(file.path(), ignored)) + " bytes, changed " + std::to_string(changed);
    }
    if (!sums.empty()) sums += ' ';
    sums.append(to_string(dataset.name)).append(1, ':').append(*dataset.sha256);
  }
  return sums;
}

CheckpointStore::CheckpointStore(const Job& job, std::string base, RunIdentity identity)
    : job_(job), base_(std::move(base)), identity_(std::move(identity)) {
  // Of a file without sums it is what the system says of it, which need not be the same on every node at once.
  identity_.inputs = FileRanks(job_.communicator()).broadcast(identity_.inputs, 0);
}

/// Newest first, as far as the first rank sees them.
std::vector<std::string> CheckpointStore::candidates() const {
  std::vector<std::string> found;
  for (const char* ending : kEndings) {
    std::error_code ignored;
    const bool is_there = job_.is_first() && fs::exists(base_ + ending, ignored);
    if (job_.max(is_there ? 1 : 0) > 0) found.push_back(base_ + ending);
  }
  return found;
}

std::optional<Checkpoint> CheckpointStore::find(std::ostream& out) const {
  std::string last_reason;
  for (const std::string& path : candidates()) {
    try {
      return read(path);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kInput) throw;
      last_reason = error.what();
      out << "checkpoint left out: " << last_reason << "\n";
    }
  }
  if (last_reason.empty()) return std::nullopt;
  throw input_error("no checkpoint of '" + base_ + "' is whole: " + last_reason + " (without --resume the run begins anew)");
}

std::optional<Checkpoint> CheckpointStore::read(const std::string& path) const {
  FileRanks(job_.communicator()).on_first_rank([&] { require_seal(path); });
  Checkpoint checkpoint{.path = path, .place = {}, .forward = {}, .backward = {}, .state = CaseFile::open(path, job_.communicator())};
  const auto text = attribute_of(*checkpoint.state);
  if (!text) throw input_error(path + ": the attribute '" + kAttribute + "' is missing; a checkpoint has it");
  require_same_run(*checkpoint.state, *text, path);
  try {
    const auto json = nlohmann::json::parse(*text);
    checkpoint.place = place_from(json, identity_.problem, path);
    checkpoint.forward = totals_from(json.at("forward"));
    checkpoint.backward = totals_from(json.at("backward"));
  } catch (const nlohmann::json::exception& exception) {
    throw input_error(path + ": the attribute '" + kAttribute + "' can't be understood: " + exception.what());
  }
  for (const TensorName name : state_names(checkpoint.place.pass)) {
    if (!checkpoint.state->has(name)) throw input_error(path + ": '/" + std::string(to_string(name)) + "' is missing");
  }
  verify_sums(*checkpoint.state, path);
  return checkpoint;
}

void CheckpointStore::require_same_run(const CaseFile& file, const std::string& text, const std::string& path) const {
  const auto differs = [&](const std::string& what, const std::string& theirs, const std::string& ours) {
    if (theirs == ours) return;
    throw usage_error(path + " is of another run: its " + what + " is " + theirs + ", this run's is " + ours +
                      "; remove it, or name another --checkpoint-dir");
  };
  const Problem& problem = identity_.problem;
  differs("specification", hilbertring::to_json(file.specification()), hilbertring::to_json(problem.specification));
  const nlohmann::json theirs = nlohmann::json::parse(text, nullptr, false), ours = description_of(identity_);
  if (!theirs.is_object()) throw input_error(path + ": the attribute '" + kAttribute + "' is no JSON object");
  for (const char* what : {"shape", "type", "with_gradient", "backend", "inputs"})
    differs(what, theirs.value(what, nlohmann::json()).dump(), ours.at(what).dump());
}

/// Each rank takes some of the datasets.
void CheckpointStore::verify_sums(CaseFile& file, const std::string& path) const {
  std::int64_t worst = -1;
  const auto& datasets = file.datasets();
  for (std::size_t i = 0; i < datasets.size(); ++i) {
    if (static_cast<int>(i) % job_.num_ranks() != job_.rank()) continue;
    // An error here is the same as another sum: the others must hear of it.
    std::optional<std::string> sum;
    const auto unreadable = error_of([&] { sum = dataset_sha256(file, datasets[i].name); });
    if (unreadable || datasets[i].sha256 != sum) worst = static_cast<std::int64_t>(i);
  }
  worst = job_.max(worst);
  if (worst < 0) return;
  throw input_error(path + ": '/" + std::string(to_string(datasets[static_cast<std::size_t>(worst)].name)) +
                    "' is damaged: its SHA-256 is not the stored one");
}

std::unique_ptr<FileWriter> CheckpointStore::create(const RunPlace& place) const {
  const Problem& problem = identity_.problem;
  FileLayout layout{.shape = problem.shape, .specification = problem.specification, .datasets = {}};
  for (const TensorName name : state_names(place.pass)) layout.datasets.emplace_back(name, arithmetic_type(problem.type));
  return FileWriter::create(base_ + ".checkpoint-new", layout, true, job_.communicator());
}

void CheckpointStore::complete(FileWriter& writer, const RunPlace& place, const PassTotals& forward, const PassTotals& backward) const {
  nlohmann::ordered_json text = description_of(identity_);
  text["pass"] = std::string(name_of(place.pass));
  text["next_lag"] = place.lag;
  text["forward"] = to_json(forward);
  text["backward"] = to_json(backward);
  writer.set_attribute(kAttribute, text.dump());
  writer.commit();
}

void CheckpointStore::make_newest() const {
  seal_file(base_ + ".checkpoint-new");
  std::error_code ignored;  // the first checkpoint has none before it
  fs::rename(base_ + ".checkpoint", base_ + ".checkpoint-old", ignored);
  std::error_code error;
  fs::rename(base_ + ".checkpoint-new", base_ + ".checkpoint", error);
  if (error) throw failure(base_ + ".checkpoint can't be replaced: " + error.message());
}

void CheckpointStore::remove_all() const {
  if (!job_.is_first()) return;
  std::error_code ignored;
  for (const char* ending : kEndings) fs::remove(base_ + ending, ignored);
}

}  // namespace hilbertring
