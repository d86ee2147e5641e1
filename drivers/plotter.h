#pragma once

#include <string>
#include <vector>

namespace hilbertring {

/// What came of drawing.
struct PlotOutcome {
  std::vector<std::string> files;  ///< names of the PNG files drawn, in the order in which a reader wants them; each has an SVG beside it
  std::string complaint;           ///< empty, or why there are none
};

/// Whether `draw_plots` may leave a file of this name: a picture or its script.
bool is_plot_file(const std::string& name);

/// Draws the plots of DIR/report.csv into DIR with plots.py, which stays there: who wants other pictures changes it and runs `python3 plots.py DIR`.
/// `python` names the interpreter; empty: `python3` on PATH or the system's, whichever has matplotlib.
PlotOutcome draw_plots(const std::string& directory, const std::string& python);

}  // namespace hilbertring
