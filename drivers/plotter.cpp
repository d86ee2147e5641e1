#include "drivers/plotter.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <sstream>
#include <string_view>

#include "drivers/plot_script.h"
#include "drivers/subprocess.h"
#include "io/files.h"

namespace hilbertring {

namespace {

constexpr const char* kScriptName = "plots.py";
/// What the script draws, each as PNG and SVG.
constexpr std::array<std::string_view, 7> kPlots = {"time", "efficiency", "sequence", "traffic", "hidden", "prediction", "order"};

std::vector<std::string> lines_of(const std::string& path) {
  std::istringstream text(read_text_file(path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) {
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

/// The plots that the script names among what it said. Matplotlib says things of its own: that it builds a cache of fonts, that one lacks a letter.
std::vector<std::string> plots_among(const std::vector<std::string>& lines) {
  std::vector<std::string> plots;
  std::ranges::copy_if(lines, std::back_inserter(plots), [](const std::string& line) { return line.ends_with(".png") && is_plot_file(line); });
  return plots;
}

/// The first interpreter that has matplotlib; empty if none has.
std::string find_python(const std::string& wanted, const std::string& log) {
  const std::vector<std::string> candidates = wanted.empty() ? std::vector<std::string>{"python3", "/usr/bin/python3"} : std::vector{wanted};
  for (const std::string& candidate : candidates) {
    if (run_subprocess({candidate, "-c", "import matplotlib"}, log) == 0) return candidate;
  }
  return "";
}

PlotOutcome draw_with(const std::string& python, const std::string& directory, const std::string& log) {
  if (python.empty()) return {{}, "no python3 with matplotlib (Debian: python3-matplotlib; --python names another)"};
  const std::string script = directory + "/" + kScriptName;
  write_text_file(script, kPlotScript);
  const int status = run_subprocess({python, script, directory}, log);
  const std::vector<std::string> said = lines_of(log);
  if (status == 0) return {plots_among(said), ""};
  return {{}, python + " " + kScriptName + " ended with status " + std::to_string(status) + (said.empty() ? "" : ": " + said.back())};
}

}  // namespace

bool is_plot_file(const std::string& name) {
  const auto is_of = [&](std::string_view plot) { return name == std::string(plot) + ".png" || name == std::string(plot) + ".svg"; };
  return name == kScriptName || std::ranges::any_of(kPlots, is_of);
}

PlotOutcome draw_plots(const std::string& directory, const std::string& python) {
  const std::string log = directory + "/.plots.log";
  PlotOutcome outcome = draw_with(find_python(python, log), directory, log);
  std::remove(log.c_str());
  return outcome;
}

}  // namespace hilbertring
