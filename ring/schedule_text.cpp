#include <algorithm>
#include <cstdio>
#include <string>

#include "ring/schedule.h"

namespace hilbertring {

namespace {

std::string mebibytes(std::int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", static_cast<double>(bytes) / (1 << 20));
  return text;
}

std::string milliseconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", seconds * 1e3);
  return text;
}

std::string padded(const std::string& text, std::size_t width) { return std::string(width > text.size() ? width - text.size() : 0, ' ') + text; }

constexpr std::int64_t kMostColumns = 8;
constexpr std::size_t kWidth = 14;

}  // namespace

std::string Schedule::to_text(Pass pass, std::int64_t max_lines, std::span<const double> stage_seconds) const {
  const Rotation direction = rotation(pass);
  const bool shows_ranks = num_ranks() <= kMostColumns;
  std::string text = std::string(pass == Pass::kForward ? "forward" : "backward") + ", " + std::string(to_string(direction)) + ", MiB received" +
                     (shows_ranks ? " (<- from rank)" : "") + "\n  step" + padded("visits", kWidth) + padded("operands", kWidth) +
                     (pass == Pass::kBackward ? padded("accumulators", kWidth) + padded("come home", kWidth) : "") + padded("all ranks", kWidth) +
                     (stage_seconds.empty() ? "" : padded("predicted ms", kWidth));
  for (std::int64_t k = 0; shows_ranks && k < num_ranks(); ++k) text += padded("rank " + std::to_string(k), kWidth);
  text += '\n';

  std::vector<std::int64_t> happening;
  for (std::int64_t step = 1; step < num_ranks(); ++step) {
    if (steps(direction)[static_cast<std::size_t>(step - 1)].num_visits > 0) happening.push_back(step);
  }
  const auto num_lines = static_cast<std::int64_t>(happening.size());
  for (std::int64_t i = 0; i < num_lines; ++i) {
    if (num_lines > max_lines && i == max_lines / 2) {
      text += "   ... " + std::to_string(num_lines - max_lines + 1) + " more steps\n";
      i = num_lines - (max_lines - max_lines / 2 - 1);
      if (i >= num_lines) break;
    }
    text += step_line(pass, happening[static_cast<std::size_t>(i)], shows_ranks, stage_seconds);
  }
  if (happening.empty()) text += "  (no step: nothing travels)\n";
  return text;
}

std::string Schedule::step_line(Pass pass, std::int64_t step, bool shows_ranks, std::span<const double> stage_seconds) const {
  const Rotation direction = rotation(pass);
  const StepRows& rows = steps(direction)[static_cast<std::size_t>(step - 1)];
  const StepTraffic traffic = bytes_of(pass, direction, rows.total);
  std::string line =
      padded(std::to_string(step), 6) + padded(std::to_string(rows.num_visits), kWidth) + padded(mebibytes(traffic.operand_bytes), kWidth);
  if (pass == Pass::kBackward) line += padded(mebibytes(traffic.accumulator_bytes), kWidth) + padded(mebibytes(traffic.homecoming_bytes), kWidth);
  line += padded(mebibytes(traffic.total()), kWidth);
  if (!stage_seconds.empty()) line += padded(milliseconds(stage_seconds[static_cast<std::size_t>(step)]), kWidth);
  for (Rank k(0); shows_ranks && k.value < num_ranks(); ++k) {
    const StepTraffic here = this->traffic(pass, k, step);
    const std::string from = "<-" + std::to_string(owner_visiting(direction, k, step).value) + " ";
    line += padded(here.operand_bytes == 0 ? "-" : from + mebibytes(here.operand_bytes + here.accumulator_bytes), kWidth);
  }
  return line + '\n';
}

}  // namespace hilbertring
