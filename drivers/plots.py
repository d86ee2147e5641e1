"""Draws the plots of a report: python3 plots.py [DIR] reads DIR/report.csv (else that beside this file) and writes PNG and SVG beside it; prints the
names of the PNG files.

The same table gives the same bytes. Sizes are those of a two-column paper: a panel is a column wide, text 8 points.
"""
import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (after the backend is chosen)
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator  # noqa: E402

PANEL_WIDTH, PANEL_HEIGHT = 3.4, 2.3  # inches
# Okabe and Ito's colours, told apart by all kinds of colour vision; the markers say the same in grey.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
BROKEN = {"failed": "X", "missing": "P"}
RED = "#C00000"
LETTERS = [f"({letter})" for letter in "abcdefghijklmnopqrstuvwxyz"]
PASSES = ["forward", "backward"]
OVER_RANKS = ["weak", "strong"]  # the kinds of series that are drawn over ranks
# What must be equal where orders of tokens are compared.
OF_PROBLEM = ["tokens", "ranks", "kind", "pass", "type", "batch", "heads", "kv_heads", "head_dim", "device", "backend", "transport", "threads_per_rank",
              "segment_lengths", "dilation_rates", "branch_heads", "dilate", "offset", "causal", "scale", "chunk", "placement"]


def set_style():
    matplotlib.rcdefaults()
    plt.rcParams.update({
        "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
        "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#DDDDDD", "grid.linewidth": 0.5, "axes.axisbelow": True,
        "lines.linewidth": 1.2, "lines.markersize": 4.5, "legend.frameon": False, "figure.dpi": 100, "savefig.dpi": 200,
        "svg.fonttype": "none", "svg.hashsalt": "hilbertring",
    })


class Point(dict):
    """A line of the table; a missing number is None."""

    def number(self, column):
        return float(self[column]) if self.get(column) else None

    @property
    def is_measured(self):
        return self["state"] == "measured"


class Report:
    """The table, and the colour and marker of each series: the same in all plots."""

    def __init__(self, path):
        with open(path, newline="", encoding="utf-8") as file:
            self.points = [Point(line) for line in csv.DictReader(file)]
        names = list(dict.fromkeys(point["series"] for point in self.points if point["series"]))
        self.style = {name: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]} for i, name in enumerate(names)}

    def passes(self):
        return [name for name in PASSES if any(point["pass"] == name for point in self.points)]

    def kinds(self, *wanted):
        return [kind for kind in wanted if any(point["kind"] == kind for point in self.points)]

    def series(self, kind):
        return list(dict.fromkeys(point["series"] for point in self.points if point["kind"] == kind))

    def measured(self, kind, series, name):
        return [point for point in self.points if (point["kind"], point["series"], point["pass"]) == (kind, series, name)]

    def broken(self, kind, series):
        return [point for point in self.points if (point["kind"], point["series"]) == (kind, series) and not point.is_measured]


# ---- what axes have in common

def counted(value, _position=None):
    """1024 as 1 Ki: tokens are mostly powers of two."""
    for factor, unit in ((1 << 20, " Mi"), (1 << 10, " Ki")):
        if value >= factor and value % factor == 0:
            return f"{value / factor:g}{unit}"
    return f"{value:,g}"


def plain(value, _position=None):
    return f"{value:,.10g}"


def literal(text):
    """A name as it is: matplotlib takes what stands between dollars for mathematics, and leaves labels that begin with _ out of legends."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def set_counts(axes, values, label):
    """A logarithmic x axis whose ticks are the values that were asked for."""
    values = sorted(set(values))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(counted))
    axes.set_xlim(values[0] / 1.25, values[-1] * 1.25)
    axes.set_xlabel(label)


def set_log_times(axes):
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    low, high = axes.get_ylim()
    # Two decades have too few powers of ten to read a value by.
    if high / low < 300:
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5) if high / low > 8 else (1, 1.5, 2, 3, 4, 5, 7)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("time (ms)")


def make_room(axes, share):
    """Leaves the lowest share of the axes empty."""
    low, high = axes.get_ylim()
    if axes.get_yscale() == "log":
        axes.set_ylim(low * (low / high) ** (share / (1 - share)), high)
    else:
        axes.set_ylim(low - (high - low) * share / (1 - share), high)


def set_percent(axes, label):
    high = max(105, axes.get_ylim()[1])
    axes.set_ylim(-0.04 * high, high)
    step = next(step for step in (25, 50, 100, 250, 500, high) if high / step < 7)
    axes.yaxis.set_major_locator(FixedLocator([k * step for k in range(int(high / step) + 1)]))
    axes.set_ylabel(label)


def mark_broken(axes, report, kind, x_of):
    """Hollow crosses below the data, a row for each series, with their state in the series' colour."""
    rows = [points for points in (report.broken(kind, series) for series in report.series(kind)) if points]
    if not rows:
        return
    make_room(axes, 0.04 + 0.15 * len(rows))
    for row, points in enumerate(rows):
        height = 0.045 + 0.15 * row
        for point in points:
            axes.plot([x_of(point)], [height], transform=axes.get_xaxis_transform(), zorder=5, **broken_style(point["state"]))
            axes.annotate(point["state"], (x_of(point), height), xycoords=axes.get_xaxis_transform(), xytext=(0, 4), textcoords="offset points",
                          ha="center", va="bottom", fontsize=7, color=report.style[point["series"]]["color"])


def broken_style(state):
    return {"linestyle": "", "marker": BROKEN[state], "markersize": 6, "markerfacecolor": "white", "markeredgecolor": RED, "markeredgewidth": 1}


def add_legend(figure, extra):
    """Below the panels, where it covers nothing. Returns the number of its lines."""
    entries = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    entries.update(extra)
    longest = max(len(label) for label in entries)
    columns = max(1, min(len(entries), int(figure.get_figwidth() * 15 / (longest + 8))))
    figure.legend(list(entries.values()), list(entries), loc="lower center", ncol=columns, bbox_to_anchor=(0.5, 0.0))
    return -(-len(entries) // columns)


def broken_legend(points):
    states = [state for state in BROKEN if any(point["state"] == state for point in points)]
    return [(f"{state} point", Line2D([], [], **broken_style(state))) for state in states]


def panels(rows, columns):
    return plt.subplots(rows, columns, figsize=(PANEL_WIDTH * columns, PANEL_HEIGHT * rows), squeeze=False)


def finish(figure, directory, name, extra=()):
    rows = add_legend(figure, extra)
    # Legend lines are 0.16 inches high.
    figure.set_figheight(figure.get_figheight() + 0.17 * rows + 0.1)
    figure.tight_layout(rect=(0, (0.17 * rows + 0.1) / figure.get_figheight(), 1, 1), w_pad=1.5, h_pad=1.2)
    figure.savefig(directory / f"{name}.png", metadata={"Software": None})
    figure.savefig(directory / f"{name}.svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    print(f"{name}.png")


# ---- lines over ranks


def ranks_of(point):
    return int(point["ranks"])


def up_to_p95(points):
    return [[0] * len(points), [point.number("p95_ms") - point.number("median_ms") for point in points]]


def dodged(values, report, kind, series):
    """Moved a little to the side, each series another way, so that equal points and their whiskers stay visible."""
    all_series = report.series(kind)
    return [value * 2 ** (0.06 * (all_series.index(series) - (len(all_series) - 1) / 2)) for value in values]


def draw_series(axes, report, kind, name, y_of, with_whisker=False):
    """One line for each series."""
    for series in report.series(kind):
        points = [point for point in report.measured(kind, series, name) if y_of(point) is not None]
        if not points:
            continue
        x = dodged([ranks_of(point) for point in points], report, kind, series)
        whisker = up_to_p95(points) if with_whisker else None
        axes.errorbar(x, [y_of(point) for point in points], yerr=whisker, capsize=2, elinewidth=0.8, label=literal(series), **report.style[series])


def over_ranks(report, draw, set_axes, nothing="nothing measured"):
    """A row of panels for each kind, a column for each pass. Returns the figure and the points without a measurement; None if there are no others."""
    kinds, passes = report.kinds(*OVER_RANKS), report.passes()
    drawn = [point for point in report.points if point["kind"] in kinds]
    if not passes or not any(point.is_measured for point in drawn):
        return None
    figure, grid = panels(len(kinds), len(passes))
    for row, kind in enumerate(kinds):
        for column, which in enumerate(passes):
            axes = grid[row][column]
            draw(axes, kind, which)
            set_counts(axes, [ranks_of(point) for point in drawn if point["kind"] == kind], "ranks")
            axes.set_title(f"{kind} scaling, {which}", loc="left")
            if not axes.lines:
                axes.text(0.5, 0.5, nothing, transform=axes.transAxes, ha="center", color="#666666")
            set_axes(axes)
            mark_broken(axes, report, kind, ranks_of)
    return figure, [point for point in drawn if not point.is_measured]


def plot_time(report, directory):
    ideal = [("no loss, from the fewest ranks", Line2D([], [], color="#666666", linestyle=":"))]

    def draw(axes, kind, name):
        for series in report.series(kind):
            points = [point for point in report.measured(kind, series, name) if point.number("ideal_ms")]
            x = dodged([ranks_of(point) for point in points], report, kind, series)
            axes.plot(x, [point.number("ideal_ms") for point in points], linestyle=":", linewidth=1, color=report.style[series]["color"])
        draw_series(axes, report, kind, name, lambda point: point.number("median_ms"), with_whisker=True)

    made = over_ranks(report, draw, set_log_times)
    if made:
        finish(made[0], directory, "time", ideal + broken_legend(made[1]))


def plot_share(report, directory, name, y_of, label, hundred=None, nothing="nothing measured"):
    values = [y_of(point) for point in report.points if point["kind"] in OVER_RANKS and y_of(point) is not None]
    if not values:
        return
    below = [("below 0", Line2D([], [], linestyle="", marker="o", color="#666666", fillstyle="none"))] if min(values) < 0 else []

    def draw(axes, kind, which):
        draw_series(axes, report, kind, which, lambda point: None if y_of(point) is None else max(0, y_of(point)))
        for series in report.series(kind):
            points = [point for point in report.measured(kind, series, which) if y_of(point) is not None and y_of(point) < 0]
            if points:
                x = dodged([ranks_of(point) for point in points], report, kind, series)
                axes.plot(x, [0] * len(points), linestyle="", markerfacecolor="white", zorder=4, **report.style[series])

    def set_axes(axes):
        set_percent(axes, label)
        if hundred:
            axes.axhline(100, color="#666666", linestyle=":", linewidth=1, label=hundred)

    made = over_ranks(report, draw, set_axes, nothing)
    if made:
        finish(made[0], directory, name, below + broken_legend(made[1]))


def sent_percent(point):
    sent, dense = point.number("sent_bytes"), point.number("dense_ring_bytes")
    return 100 * sent / dense if dense else None


# ---- the length of the sequence

def plot_sequence(report, directory):
    passes = report.passes()
    if not report.kinds("sequence") or not passes:
        return
    figure, grid = panels(1, len(passes))
    broken = [point for series in report.series("sequence") for point in report.broken("sequence", series)]
    for axes, name in zip(grid[0], passes):
        for series in report.series("sequence"):
            points = report.measured("sequence", series, name)
            all_ranks = sorted({ranks_of(point) for point in points})
            for i, ranks in enumerate(all_ranks):
                of_ranks = [point for point in points if ranks_of(point) == ranks]
                x, y = [point.number("tokens") for point in of_ranks], [point.number("median_ms") for point in of_ranks]
                text = f"{literal(series)}, {ranks} rank{'s' if ranks > 1 else ''}"
                axes.errorbar(x, y, yerr=up_to_p95(of_ranks), capsize=2, elinewidth=0.8, label=text, fillstyle="full" if i == 0 else "none",
                              linestyle=["-", "--", "-."][i % 3], **report.style[series])
                ideal = [point.number("ideal_ms") for point in of_ranks]
                axes.plot(x, ideal, linestyle=":", linewidth=1, color=report.style[series]["color"])
        set_log_times(axes)
        set_counts(axes, [point.number("tokens") for point in report.points if point["kind"] == "sequence"], "tokens")
        axes.set_title(f"length of the sequence, {name}", loc="left")
        mark_broken(axes, report, "sequence", lambda point: point.number("tokens"))
    ideal = [("in proportion to the work", Line2D([], [], color="#666666", linestyle=":"))]
    finish(figure, directory, "sequence", ideal + broken_legend(broken))


# ---- the model beside the measurement

def plot_prediction(report, directory):
    points = [point for point in report.points if point.is_measured and point.number("predicted_ms")]
    if not points:
        return
    passes = [name for name in report.passes() if any(point["pass"] == name for point in points)]
    figure, grid = panels(1, len(passes))
    for axes, name in zip(grid[0], passes):
        of_pass = [point for point in points if point["pass"] == name]
        for series in dict.fromkeys(point["series"] for point in of_pass):
            of_series = [point for point in of_pass if point["series"] == series]
            x, y = [point.number("median_ms") for point in of_series], [point.number("predicted_ms") for point in of_series]
            axes.plot(x, y, linestyle="", label=literal(series), **report.style[series])
        values = [value for point in of_pass for value in (point.number("median_ms"), point.number("predicted_ms"))]
        low, high = min(values) / 1.5, max(values) * 1.5
        axes.plot([low, high], [low, high], color="#666666", linestyle=":", linewidth=1, label="predicted = measured")
        axes.fill_between([low, high], [0.9 * low, 0.9 * high], [1.1 * low, 1.1 * high], color="#EEEEEE", linewidth=0, label="within 10 %")
        axes.set_xscale("log")
        set_log_times(axes)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.xaxis.set_major_formatter(FuncFormatter(plain))
        axes.xaxis.set_minor_locator(NullLocator())
        if high / low < 300:
            axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axes.set_xlabel("measured time (ms)")
        axes.set_ylabel("predicted time (ms)")
        errors = sorted(abs(point.number("prediction_error_percent")) for point in of_pass)
        middle = (errors[(len(errors) - 1) // 2] + errors[len(errors) // 2]) / 2
        axes.set_title(f"{name}: median error {middle:.0f} %, largest {errors[-1]:.0f} %", loc="left")
    finish(figure, directory, "prediction")


# ---- Hilbert order beside sequence order

def problem_of(point):
    return tuple(point[column] for column in OF_PROBLEM)


def compared_orders(report):
    """Pairs (sequence order, Hilbert order) of points that are alike in all else, by the pattern's name."""
    in_sequence = {problem_of(point): point for point in report.points if point.is_measured and point["curve"] == "identity"}
    groups = {}
    for point in report.points:
        pair = (in_sequence.get(problem_of(point)), point)
        if point.is_measured and point["curve"] == "hilbert" and pair[0] is not None:
            groups.setdefault(pattern_name(point), []).append(pair)
    return groups


def pattern_name(point):
    is_named = point["pattern"] != "as given"
    return point["pattern"] if is_named else f"w {point['segment_lengths']}, r {point['dilation_rates']}"


def draw_orders(axes, groups, y_of):
    """Both orders of each problem one above the other, problems side by side, patterns apart from each other."""
    labels, x = [], 0
    styles = [("sequence order", {"color": COLOURS[0], "marker": "o", "fillstyle": "none"}), ("Hilbert order", {"color": COLOURS[1], "marker": "s"})]
    for letter, pairs in zip(LETTERS, groups.values()):
        if len(groups) > 1:
            axes.annotate(letter, (x, 1), xycoords=axes.get_xaxis_transform(), xytext=(-3, -1), textcoords="offset points", va="top")
        for pair in pairs:
            axes.plot([x, x], [y_of(pair[0]), y_of(pair[1])], color="#AAAAAA", linewidth=0.8, zorder=1)
            for point, (label, style) in zip(pair, styles):
                axes.plot([x], [y_of(point)], linestyle="", label=label, **style)
            labels.append((x, f"{counted(int(pair[0]['tokens']))} / {pair[0]['ranks']}"))
            x += 1
        x += 0.5
    axes.set_xticks([at for at, _ in labels], [text for _, text in labels], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, x - 1)
    axes.set_xlabel("tokens / ranks")


def plot_order(report, directory):
    groups = compared_orders(report)
    passes = [name for name in report.passes() if any(pair[0]["pass"] == name for pairs in groups.values() for pair in pairs)]
    if not passes:
        return
    figure, grid = panels(len(passes), 3)
    figure.set_figwidth(2 * PANEL_WIDTH)
    for row, name in enumerate(passes):
        of_pass = {group: [pair for pair in pairs if pair[0]["pass"] == name] for group, pairs in groups.items()}
        times, traffic, neighbours = grid[row]
        draw_orders(times, of_pass, lambda point: point.number("median_ms"))
        set_log_times(times)
        draw_orders(traffic, of_pass, lambda point: sent_percent(point) or 0)
        set_percent(traffic, "sent (% of a dense ring)")
        draw_orders(neighbours, of_pass, lambda point: point.number("neighbours_percent"))
        set_percent(neighbours, "grid neighbours seen (%)")
        for axes in grid[row]:
            axes.set_title(name, loc="left")
            low, high = axes.get_ylim()
            axes.set_ylim(low, high * (high / low) ** 0.15 if axes is times else high + 0.12 * (high - low))
    # The order's locality is the same in both passes.
    for row in range(1, len(passes)):
        grid[row][2].set_visible(False)
    patterns = [literal(name) for name in groups]
    names = [f"{letter} {name}" for letter, name in zip(LETTERS, patterns)] if len(groups) > 1 else patterns
    finish(figure, directory, "order", [(name, Line2D([], [], linestyle="")) for name in names])


def main(directory):
    set_style()
    report = Report(directory / "report.csv")
    plot_time(report, directory)
    plot_share(report, directory, "efficiency", lambda point: point.number("efficiency_percent"), "efficiency (%)", hundred="no loss")
    plot_sequence(report, directory)
    plot_share(report, directory, "traffic", sent_percent, "sent (% of a dense ring)", hundred="a dense ring")
    plot_share(report, directory, "hidden", lambda point: point.number("hidden_percent"), "transfers hidden (%)", nothing="nothing is sent")
    plot_prediction(report, directory)
    plot_order(report, directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
