#include "drivers/report_series.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "core/error.h"

namespace hilbertring {

namespace {

Series& series_of(std::vector<Series>& all, const std::string& name, const std::string& kind) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Series& series) { return series.name == name && series.kind == kind; });
  if (found != all.end()) return *found;
  return all.emplace_back(Series{name, kind, {}});
}

void sort_points(std::vector<Series>& all) {
  const auto key = [](const ReportPoint& point) { return std::tuple(point.planned.num_ranks, point.planned.num_tokens); };
  for (Series& series : all) {
    std::stable_sort(series.points.begin(), series.points.end(), [&](const ReportPoint& a, const ReportPoint& b) { return key(a) < key(b); });
  }
}

std::string reason_of(const FailedRecord& failed) {
  return failed.status ? "status " + std::to_string(*failed.status) + ": " + failed.line : failed.line;
}

void require_same_problem(const PlannedPoint& point, const BenchRecord& record) {
  if (record.shape.tokens == point.num_tokens && record.num_ranks == point.num_ranks) return;
  throw input_error(record.where + ": has " + std::to_string(record.shape.tokens) + " tokens on " + std::to_string(record.num_ranks) +
                    " ranks, but point '" + point.label + "' is of " + std::to_string(point.num_tokens) + " tokens on " +
                    std::to_string(point.num_ranks) + " ranks");
}

using Members = std::vector<const BenchRecord*>;

using Traits = std::vector<std::pair<std::string, std::string>>;

/// Every series is called by its pattern and curve: the preset's name, or the branches.
std::string title_of(const BenchRecord& record) {
  const bool is_named = record.pattern != "as given";
  const std::string branches = "w " + record.specified("segment_lengths") + ", r " + record.specified("dilation_rates");
  return (is_named ? record.pattern : branches) + ", " + record.specified("curve");
}

/// What else makes problems alike, beside tokens and ranks: names for people, values to compare. A preset's own branches depend on the number of
/// tokens, its name says enough; transports differ between one rank and several.
Traits traits_of(const BenchRecord& record) {
  Traits traits;
  for (const auto& [key, value] : record.specification) {
    if (key != "segment_lengths" && key != "dilation_rates" && key != "curve") traits.emplace_back(key, value);
  }
  traits.insert(traits.end(), {{"type", record.type},
                               {"batch", std::to_string(record.shape.batch)},
                               {"heads", std::to_string(record.shape.heads)},
                               {"KV heads", std::to_string(record.shape.kv_heads)},
                               {"head dimension", std::to_string(record.shape.head_dim)},
                               {"device", record.device},
                               {"backend", record.backend},
                               {"threads", std::to_string(record.num_threads)}});
  return traits;
}

/// Names series: the title, and those traits in which records of one title differ.
class Namer {
 public:
  explicit Namer(const std::vector<BenchRecord>& records) {
    for (const BenchRecord& record : records) {
      for (const auto& [name, value] : traits_of(record)) values_[title_of(record)][name].insert(value);
    }
  }

  std::string name(const BenchRecord& record) const {
    const std::string title = title_of(record);
    std::string text = title;
    for (const auto& [name, value] : traits_of(record)) {
      if (values_.at(title).at(name).size() > 1) text.append(", ").append(name).append(" ").append(value.empty() ? "chosen" : value);
    }
    return text;
  }

 private:
  std::map<std::string, std::map<std::string, std::set<std::string>>> values_;
};

void refuse_same_problem(const Members& members) {
  std::map<std::pair<std::int64_t, std::int64_t>, const BenchRecord*> seen;
  for (const BenchRecord* record : members) {
    const auto [first, is_new] = seen.emplace(std::pair(record->shape.tokens, record->num_ranks), record);
    if (!is_new)
      throw input_error(record->where + ": is of the same problem and ranks as " + first->second->where +
                        "; with labels and --points both have a place");
  }
}

void add_measured(Series& series, const BenchRecord& record) {
  ReportPoint& point = series.points.emplace_back();
  point.planned = {record.label.value_or(""), series.name, series.kind, record.shape.tokens, record.num_ranks};
  point.state = ReportPoint::State::kMeasured;
  point.record = record;
}

/// Finds the series among records that are alike but for tokens and ranks.
class SeriesFinder {
 public:
  SeriesFinder(std::string name, Members members, std::vector<Series>& all) : name_(std::move(name)), members_(std::move(members)), all_(all) {}

  void find() {
    add_groups("strong", [](const BenchRecord& record) { return record.shape.tokens; });
    add_groups("weak",
               [](const BenchRecord& record) { return record.shape.tokens % record.num_ranks == 0 ? record.shape.tokens / record.num_ranks : 0; });
    add_groups("sequence", [](const BenchRecord& record) { return record.num_ranks; });
    for (const BenchRecord* record : members_) {
      if (placed_.count(record) == 0) add_measured(series_of(all_, name_, "single"), *record);
    }
  }

 private:
  /// Records with the same number make a series, if one of them has no place yet; 0: none.
  template <class NumberOf>
  void add_groups(const std::string& kind, NumberOf&& number_of) {
    std::map<std::int64_t, Members> groups;
    for (const BenchRecord* record : members_) groups[number_of(*record)].push_back(record);
    const bool is_alone = std::count_if(groups.begin(), groups.end(), [&](const auto& group) { return is_new_series(group); }) < 2;
    for (const auto& group : groups) {
      if (!is_new_series(group)) continue;
      const bool needs_number = !is_alone && kind != "sequence";
      const std::string name = needs_number ? name_ + ", " + std::to_string(group.first) + (kind == "weak" ? " tokens a rank" : " tokens") : name_;
      for (const BenchRecord* record : group.second) add_measured(series_of(all_, name, kind), *record);
      fresh_.insert(group.second.begin(), group.second.end());
    }
    placed_.insert(fresh_.begin(), fresh_.end());
  }

  bool is_new_series(const std::pair<const std::int64_t, Members>& group) const {
    const bool has_new = std::any_of(group.second.begin(), group.second.end(), [&](const BenchRecord* record) { return placed_.count(record) == 0; });
    return group.first > 0 && group.second.size() > 1 && has_new;
  }

  std::string name_;
  Members members_;
  std::vector<Series>& all_;
  std::set<const BenchRecord*> placed_, fresh_;
};

const RecordedPass* base_pass(const Series& series, const ReportPoint& point, Pass pass, std::int64_t& num_ranks) {
  for (const ReportPoint& candidate : series.points) {
    const bool is_comparable = series.kind != "sequence" || candidate.planned.num_ranks == point.planned.num_ranks;
    const RecordedPass* measured = candidate.pass(pass);
    if (!is_comparable || measured == nullptr) continue;
    num_ranks = candidate.planned.num_ranks;
    return measured;
  }
  return nullptr;
}

}  // namespace

const RecordedPass* ReportPoint::pass(Pass which) const {
  if (!record) return nullptr;
  if (which == Pass::kForward) return &record->forward;
  return record->backward ? &*record->backward : nullptr;
}

std::string to_string(ReportPoint::State state) {
  switch (state) {
    case ReportPoint::State::kMeasured: return "measured";
    case ReportPoint::State::kFailed: return "failed";
    case ReportPoint::State::kMissing: break;
  }
  return "missing";
}

std::optional<Scaling> scaling_of(const Series& series, const ReportPoint& point, Pass pass) {
  const RecordedPass* measured = point.pass(pass);
  std::int64_t base_ranks = 0;
  const RecordedPass* base = base_pass(series, point, pass, base_ranks);
  const bool has_rank_series = series.kind == "weak" || series.kind == "strong" || series.kind == "sequence";
  if (!has_rank_series || measured == nullptr || base->allowed_pairs == 0) return std::nullopt;
  const double work = static_cast<double>(measured->allowed_pairs) / static_cast<double>(base->allowed_pairs);
  const double ranks = static_cast<double>(point.planned.num_ranks) / static_cast<double>(base_ranks);
  const double ideal = base->median_seconds * work / ranks;
  return Scaling{ideal, ideal / measured->median_seconds};
}

std::vector<Series> planned_series(const std::vector<PlannedPoint>& points, const Records& records) {
  std::map<std::string, const BenchRecord*> measured;
  std::map<std::string, const FailedRecord*> failed;
  for (const BenchRecord& record : records.measured) {
    if (!record.label) throw input_error(record.where + ": has no label, so that no point can be its own");
    measured[*record.label] = &record;
  }
  for (const FailedRecord& record : records.failed) failed[record.label] = &record;

  std::vector<Series> all;
  for (const PlannedPoint& point : points) {
    ReportPoint& added = series_of(all, point.series, point.kind).points.emplace_back();
    added.planned = point;
    if (const auto found = measured.find(point.label); found != measured.end()) {
      require_same_problem(point, *found->second);
      added.state = ReportPoint::State::kMeasured;
      added.record = *found->second;
      measured.erase(found);
    } else if (const auto trace = failed.find(point.label); trace != failed.end()) {
      added.state = ReportPoint::State::kFailed;
      added.reason = reason_of(*trace->second);
      failed.erase(trace);
    }
  }
  for (const auto& [label, record] : measured) throw input_error(record->where + ": label '" + label + "' is not in the list of points");
  for (const auto& [label, record] : failed) throw input_error(record->where + ": label '" + label + "' is not in the list of points");
  sort_points(all);
  return all;
}

std::vector<Series> found_series(const Records& records) {
  const Namer namer(records.measured);
  std::vector<std::pair<std::string, Members>> alike;
  for (const BenchRecord& record : records.measured) {
    const std::string name = namer.name(record);
    const auto found = std::find_if(alike.begin(), alike.end(), [&](const auto& entry) { return entry.first == name; });
    (found == alike.end() ? alike.emplace_back(name, Members{}) : *found).second.push_back(&record);
  }
  std::vector<Series> all;
  for (const auto& [name, members] : alike) {
    refuse_same_problem(members);
    SeriesFinder(name, members, all).find();
  }
  for (const FailedRecord& record : records.failed) {
    ReportPoint& point = series_of(all, "", "").points.emplace_back();
    point.planned.label = record.label;
    point.state = ReportPoint::State::kFailed;
    point.reason = reason_of(record);
  }
  sort_points(all);
  return all;
}

}  // namespace hilbertring
