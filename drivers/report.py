"""What `hilbertring report` runs: gathers the points of a scaling experiment into report.csv, report.md and plots (PNG, SVG).

  python3 report.py SWEEP OUT

SWEEP: as cluster/scale leaves it: points.csv, records/ID.json (a record of `hilbertring bench`), records/ID.failed. OUT is written anew.
Exit status: 0; 3: something in SWEEP is not as it must be, one line says what; 4: no matplotlib (OUT has everything but the plots).
"""
import csv
import json
import pathlib
import sys

COLUMNS = ["id", "kind", "tokens", "ranks", "pattern", "curve", "placement"]
PASSES = ["forward", "backward"]
FIGURES = ["median_ms", "p95_ms", "tflops", "efficiency", "hidden", "sent_bytes", "dense_ring_bytes"]
# Okabe and Ito's colours, told apart by most colour-blind people, and markers besides.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
MISSED = "#CC0000"


def refuse(text):
    print(f"hilbertring report: {text}", file=sys.stderr)
    sys.exit(3)


def read_points(sweep):
    path = sweep / "points.csv"
    try:
        rows = list(csv.DictReader(path.open(newline="")))
    except OSError as error:
        refuse(f"{path}: can't be read: {error.strerror}")
    if not rows or list(rows[0]) != COLUMNS:
        refuse(f"{path}: must have the columns {','.join(COLUMNS)} and at least one point")
    for row in rows:
        try:
            row["tokens"], row["ranks"] = int(row["tokens"]), int(row["ranks"])
        except (TypeError, ValueError):
            refuse(f"{path}: point {row['id']}: tokens '{row['tokens']}' and ranks '{row['ranks']}' must be whole numbers")
    return rows


def read_record(path, point):
    try:
        record = json.loads(path.read_text().splitlines()[-1])
        sizes = record["shape"]["tokens"], record["ranks"]
        passes = {name: figures_of(record[name]) for name in PASSES if name in record}
    except (OSError, ValueError, LookupError, TypeError) as error:
        refuse(f"{path}: is no record of `hilbertring bench`: {error!r}")
    if sizes != (point["tokens"], point["ranks"]):
        refuse(f"{path}: is of {sizes[0]} tokens and {sizes[1]} ranks, but its point of {point['tokens']} and {point['ranks']}")
    return record, passes


def figures_of(figures):
    return {
        "median_ms": 1e3 * figures["ring"]["median_seconds"],
        "p95_ms": 1e3 * figures["ring"]["p95_seconds"],
        "tflops": figures["teraflop_per_second"],
        # Whoever waits longer than transfers take alone hides nothing.
        "hidden": None if figures["hidden_share"] is None else max(0.0, figures["hidden_share"]),
        "sent_bytes": figures["sent_bytes"],
        "dense_ring_bytes": figures["dense_ring_bytes"],
    }


def gather(sweep):
    """Every point, with `state` (measured, failed, missing), `reason`, and, where it was measured, the figures of its passes."""
    points = read_points(sweep)
    for point in points:
        record, failure = sweep / "records" / f"{point['id']}.json", sweep / "records" / f"{point['id']}.failed"
        point.update(state="missing", reason="no trace of it", passes={}, device="")
        if record.exists():
            whole, passes = read_record(record, point)
            point.update(state="measured", reason="", passes=passes, device=whole["device"])
        elif failure.exists():
            lines = failure.read_text(errors="replace").splitlines() or ["?"]
            point.update(state="failed", reason=f"status {lines[0]}" + (f": {lines[1]}" if len(lines) > 1 else ""))
    add_efficiency(points)
    return points


def series_of(point):
    """What the points of one line have in common."""
    size = {"strong": point["tokens"], "weak": point["tokens"] // point["ranks"], "sequence": point["ranks"]}[point["kind"]]
    return point["kind"], size, point["pattern"], point["curve"], point["placement"]


def label_of(series):
    kind, size, pattern, curve, placement = series
    unit = {"strong": "tokens", "weak": "tokens a rank", "sequence": "ranks"}[kind]
    return ", ".join(part for part in (pattern, curve, placement, f"{size:,} {unit}") if part)


def grouped(points):
    groups = {}
    for point in points:
        groups.setdefault(series_of(point), []).append(point)
    return groups


def add_efficiency(points):
    """Rate per rank beside that of the series' smallest measured number of ranks."""
    for series, members in grouped(points).items():
        for name in PASSES:
            measured = sorted((p for p in members if name in p["passes"]), key=lambda p: p["ranks"])
            for point in measured:
                rate = point["passes"][name]["tflops"] / point["ranks"]
                base = measured[0]["passes"][name]["tflops"] / measured[0]["ranks"]
                point["passes"][name]["efficiency"] = rate / base if series[0] != "sequence" and base > 0 else None


def number(value, digits=4):
    return "" if value is None else f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def write_csv(points, path):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS + ["state", "reason", "device"] + [f"{name}_{figure}" for name in PASSES for figure in FIGURES])
        for point in points:
            figures = [number(point["passes"].get(name, {}).get(figure), 8) for name in PASSES for figure in FIGURES]
            writer.writerow([point[c] for c in COLUMNS] + [point["state"], point["reason"], point["device"]] + figures)


def percent(value):
    return "-" if value is None else f"{100 * value:.0f} %"


def mebibytes(value):
    return "-" if value is None else f"{value / 2**20:,.1f}"


def write_markdown(points, path):
    counts = {state: sum(p["state"] == state for p in points) for state in ("measured", "failed", "missing")}
    lines = [
        f"{len(points)} points: " + ", ".join(f"{count} {state}" for state, count in counts.items()) + ".",
        "",
        "Devices: " + "; ".join(sorted({p["device"] for p in points if p["device"]}) or ["-"]) + ".",
        "",
        "| kind | pattern | tokens | ranks | pass | median ms | p95 ms | TFLOP/s | efficiency | transfers hidden | sent MiB | a dense ring's |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for point in points:
        what = ", ".join(part for part in (point["pattern"], point["curve"], point["placement"]) if part)
        place = f"| {point['kind']} | {what} | {point['tokens']:,} | {point['ranks']} |"
        if point["state"] != "measured":
            lines.append(f"{place} **{point['state']}**: {point['reason']} | | | | | | | |")
        for name, f in point["passes"].items():
            lines.append(
                f"{place} {name} | {number(f['median_ms'])} | {number(f['p95_ms'])} | {number(f['tflops'])} | {percent(f['efficiency'])} | {percent(f['hidden'])} |"
                f" {mebibytes(f['sent_bytes'])} | {mebibytes(f['dense_ring_bytes'])} |"
            )
    path.write_text("\n".join(lines) + "\n")


class Plots:
    """Panels of one pass each, a line for each series; what was not measured is marked above the frame."""

    def __init__(self, pyplot, points, out):
        self.plt, self.points, self.out = pyplot, points, out
        self.passes = [name for name in PASSES if any(name in p["passes"] for p in points)]

    def figure(self, name, kinds, draw, y_label, x="ranks", y_scale="linear"):
        groups = {series: members for series, members in grouped(self.points).items() if series[0] in kinds}
        if not groups or not self.passes:
            return
        fig, axes = self.plt.subplots(1, len(self.passes), figsize=(3.5 * len(self.passes), 2.9), squeeze=False, layout="constrained")
        has_lines = False
        for axis, of_pass in zip(axes[0], self.passes):
            for index, (series, members) in enumerate(groups.items()):
                has_lines |= self.line(axis, draw, of_pass, series, members, x, COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
            axis.set_xscale("log", base=2)
            axis.set_yscale(y_scale)
            if y_scale == "log":
                axis.yaxis.set_major_locator(self.plt.matplotlib.ticker.LogLocator(base=10, subs=(1, 2, 5)))
                axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            ticks = sorted({p[x] for members in groups.values() for p in members})
            axis.set_xticks(ticks, [f"{t:,}" for t in ticks], rotation=30 if max(ticks) > 9999 else 0)
            axis.minorticks_off()
            axis.set_xlabel(x)
            axis.set_title(of_pass, pad=16)
            axis.grid(True, linewidth=0.4, alpha=0.5)
        axes[0][0].set_ylabel(y_label)
        if has_lines:
            handles, labels = axes[0][0].get_legend_handles_labels()
            fig.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncol=1, frameon=False)
            for kind in ("png", "svg"):
                fig.savefig(self.out / f"{name}.{kind}", dpi=200, bbox_inches="tight", metadata={"Date": None} if kind == "svg" else {"Software": None})
        self.plt.close(fig)

    def line(self, axis, draw, of_pass, series, members, x, colour, marker):
        measured = sorted((p for p in members if of_pass in p["passes"]), key=lambda p: p[x])
        shown = [(p[x], draw(p["passes"][of_pass]), p["passes"][of_pass]) for p in measured]
        shown = [point for point in shown if point[1] is not None]
        if shown:
            axis.plot([s[0] for s in shown], [s[1] for s in shown], color=colour, marker=marker, markersize=4, linewidth=1.2, label=label_of(series))
        if draw is time_of and shown:
            axis.vlines([s[0] for s in shown], [s[1] for s in shown], [s[2]["p95_ms"] for s in shown], color=colour, linewidth=0.8)
            if series[0] == "strong":
                axis.plot([s[0] for s in shown], [shown[0][1] * shown[0][0] / s[0] for s in shown], color=colour, linewidth=0.8, linestyle=":")
        for point in members:
            if point["state"] != "measured":
                # Above the frame, where no data can be, in the series' colour.
                axis.plot(point[x], 1.03, color=colour, marker="x", markersize=5, transform=axis.get_xaxis_transform(), clip_on=False, linestyle="none")
                axis.annotate(point["state"], (point[x], 1.05), xycoords=axis.get_xaxis_transform(), fontsize=6, color=MISSED, ha="center")
        return bool(shown)

    def all(self):
        self.figure("time", ("strong", "weak"), time_of, "median time, ms (bar: p95; dotted: ideal)", y_scale="log")
        self.figure("efficiency", ("strong", "weak"), lambda f: None if f["efficiency"] is None else 100 * f["efficiency"], "efficiency, %")
        self.figure("sequence", ("sequence",), time_of, "median time, ms (bar: p95)", x="tokens", y_scale="log")
        everything = ("strong", "weak", "sequence")
        self.figure("traffic", everything, lambda f: 100 * f["sent_bytes"] / f["dense_ring_bytes"] if f["dense_ring_bytes"] else None, "sent, % of a dense ring")
        self.figure("hidden", everything, lambda f: None if f["hidden"] is None else 100 * f["hidden"], "transfers hidden, %")
        self.orders()

    def orders(self):
        """Hilbert order beside sequence order, where points differ in nothing else."""
        pairs = {}
        for point in self.points:
            if point["curve"] in ("hilbert", "identity"):
                key = (point["kind"], point["tokens"], point["ranks"], point["pattern"], point["placement"])
                pairs.setdefault(key, {})[point["curve"]] = point
        pairs = {k: v for k, v in pairs.items() if len(v) == 2 and all(p["passes"] for p in v.values())}
        if not pairs:
            return
        fig, axes = self.plt.subplots(1, 2, figsize=(7, 2.9), layout="constrained")
        names = [f"{k[3]}\n{k[1]:,} tokens, {k[2]} ranks" for k in pairs]
        for axis, (figure, label) in zip(axes, (("median_ms", "forward, median ms"), ("sent_bytes", "forward, bytes sent"))):
            for i, curve in enumerate(("identity", "hilbert")):
                at = [n + 0.4 * i - 0.2 for n in range(len(pairs))]
                values = [pair[curve]["passes"]["forward"][figure] for pair in pairs.values()]
                axis.bar(at, values, width=0.38, color=COLOURS[i], hatch=("", "//")[i], edgecolor="white", label={"identity": "sequence order"}.get(curve, "Hilbert order"))
            axis.set_xticks(range(len(pairs)), names, fontsize=6)
            axis.set_ylabel(label)
        axes[0].legend(frameon=False)
        for kind in ("png", "svg"):
            fig.savefig(self.out / f"order.{kind}", dpi=200, bbox_inches="tight", metadata={"Date": None} if kind == "svg" else {"Software": None})
        self.plt.close(fig)


def time_of(figures):
    return figures["median_ms"]


def load_pyplot():
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    # The same records give the same bytes; text stays text.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "hilbertring", "font.size": 8, "axes.titlesize": 8, "legend.fontsize": 7})
    import matplotlib.pyplot
    import matplotlib.ticker

    return matplotlib.pyplot


def main():
    sweep, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    points = gather(sweep)
    out.mkdir()
    write_csv(points, out / "report.csv")
    write_markdown(points, out / "report.md")
    pyplot = load_pyplot()
    if pyplot is None:
        print("hilbertring report: no plots: python3 has no module matplotlib (package python3-matplotlib; --python names another)", file=sys.stderr)
        sys.exit(4)
    Plots(pyplot, points, out).all()
    print((out / "report.md").read_text().splitlines()[0])


main()
