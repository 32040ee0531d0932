"""The report's figures with Matplotlib, from the run directory's tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from ._errors import TachoError
from ._lines import Line, axis_title, lines, name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ._run import Run

#: Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow that vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LATENCIES = ("ttft", "itl", "tpot", "e2e")

type Style = dict[str, Any]


def _pyplot() -> Any:  # noqa: ANN401 - the module, which may be absent
    try:
        import matplotlib.pyplot as plt  # noqa: PLC0415 - optional
    except ImportError as error:
        raise TachoError("Matplotlib is not installed: pip install 'tacho[plot]'") from error
    return plt


def _style(number: int) -> Style:
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def _axes(ax: Axes | None) -> Axes:
    axes: Axes = _pyplot().subplots(layout="constrained")[1] if ax is None else ax
    axes.grid(visible=True, alpha=0.3)
    return axes


def _finish(ax: Axes, all_lines: Sequence[Line]) -> None:
    """Ticks where there are points, and a legend; equal factors equally far apart where values span much."""
    ticks = sorted({x for line in all_lines for x in line.x})
    if ticks[0] > 0 and ticks[-1] / ticks[0] >= 8:
        ax.set_xscale("log", base=2)
    if len(ticks) <= 12:
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
        ax.minorticks_off()
    _from_zero(ax, [y for line in all_lines for values in line.values.values() for y in values])
    ax.legend(fontsize="small")


def _from_zero(ax: Axes, ys: Sequence[float], axis: Literal["x", "y"] = "y") -> None:
    """An axis from 0, or a logarithmic one where the smallest values would lie on it."""
    shown = [y for y in ys if math.isfinite(y) and y > 0]
    if shown and max(shown) / min(shown) >= 50:
        (ax.set_yscale if axis == "y" else ax.set_xscale)("log")
    else:
        (ax.set_ylim if axis == "y" else ax.set_xlim)(0)


class Plots:
    """Figures of a run. Each draws into `ax` or into axes of its own, and returns them."""

    def __init__(self, run: Run[pd.DataFrame]) -> None:
        """Use `run.plot`."""
        self._run = run

    def _column(self, frame: pd.DataFrame, *columns: str) -> None:
        absent = [column for column in columns if column not in frame.columns]
        if absent:
            version = self._run.info.get("tacho", {}).get("version", "unknown")
            raise TachoError(
                f"the tables of {self._run.path} have no column {', '.join(absent)}: they are of tacho {version}; "
                f"make them anew with `tacho report {self._run.path}`"
            )

    def _lines(self, *columns: str) -> tuple[list[Line], str | None]:
        summary = self._run.summary
        self._column(summary, *columns)
        # What a point gave before it failed is not what it was asked for.
        measured = summary[summary["status"] == "ok"].dropna(subset=[columns[0]])
        if measured.empty:
            reasons = summary.get("latency_null_reason", pd.Series(dtype=object)).dropna().unique()
            failed = summary.get("reason", pd.Series(dtype=object)).dropna().unique()
            why = "; ".join(str(reason) for reason in [*failed, *reasons][:3]) or "no point was measured"
            raise TachoError(f"{self._run.path} has no {columns[0]}: {why}")
        return lines(measured, columns)

    def throughput(self, ax: Axes | None = None) -> Axes:
        """Output tokens a second over the first numeric axis: median over the trials, with its 95 % interval."""
        median, low, high = (
            "output_token_throughput_median",
            "output_token_throughput_low",
            "output_token_throughput_high",
        )
        all_lines, axis = self._lines(median, low, high)
        ax = _axes(ax)
        for number, line in enumerate(all_lines):
            y, lows, highs = (line.values[column] for column in (median, low, high))
            # Points with too few trials have no interval, and so no whisker.
            below = [value - end if math.isfinite(end) else 0.0 for value, end in zip(y, lows, strict=True)]
            above = [end - value if math.isfinite(end) else 0.0 for value, end in zip(y, highs, strict=True)]
            ax.errorbar(line.x, y, yerr=[below, above], capsize=3, label=line.label, **_style(number))
        ax.set(xlabel=axis_title(axis), ylabel="output tokens/s (median, 95 % interval)", title="Throughput")
        _finish(ax, all_lines)
        return ax

    def latency(self, metric: str = "ttft", statistics: Sequence[str] = ("p50", "p99"), ax: Axes | None = None) -> Axes:
        """A latency over the first numeric axis: the median over step-loop trials of each trial's own percentile.

        `metric` is one of ttft, itl, tpot, e2e; `statistics` of mean, sd, min, p50, p90, p95, p99, max.
        """
        if metric not in LATENCIES:
            raise TachoError(f"expected one of {', '.join(LATENCIES)} as the metric, found {metric!r}")
        columns = [f"{metric}_{statistic}_ms" for statistic in statistics]
        all_lines, axis = self._lines(*columns)
        ax = _axes(ax)
        for number, line in enumerate(all_lines):
            for which, (column, statistic) in enumerate(zip(columns, statistics, strict=True)):
                dashes = ("-", "--", ":", "-.")[which % 4]
                label = f"{line.label} · {statistic}"
                ax.plot(line.x, line.values[column], linestyle=dashes, label=label, **_style(number))
        ax.set(xlabel=axis_title(axis), ylabel=f"{metric} (ms)", title=f"Latency: {metric}")
        _finish(ax, all_lines)
        return ax

    def pareto(self, latency: str = "tpot_p50_ms", ax: Axes | None = None) -> Axes:
        """Throughput against a latency of the same point; a line joins the points that no other beats in both."""
        throughput = "output_token_throughput_median"
        all_lines, _ = self._lines(latency, throughput)
        ax = _axes(ax)
        dots = [
            (x, y)
            for line in all_lines
            for x, y in zip(line.values[latency], line.values[throughput], strict=True)
            if math.isfinite(x) and math.isfinite(y)
        ]
        for number, line in enumerate(all_lines):
            style = _style(number)
            ax.scatter(line.values[latency], line.values[throughput], label=line.label, **style)
            for x, y, at in zip(line.values[latency], line.values[throughput], line.x, strict=True):
                ax.annotate(f"{at:g}", (x, y), textcoords="offset points", xytext=(5, 4), fontsize="x-small")
        front = frontier(dots)
        ax.plot(*zip(*front, strict=True), color="0.5", linewidth=1, zorder=0, label="Pareto frontier")
        ax.set(
            xlabel=f"{latency} (less is better)",
            ylabel="output tokens/s (more is better)",
            title="Throughput and latency",
        )
        _from_zero(ax, [x for x, _ in dots], "x")
        _from_zero(ax, [y for _, y in dots])
        ax.legend(fontsize="small")
        return ax

    def telemetry(self, point: int = 0, trial: int | None = None) -> Figure:
        """What the machine did during a trial of a point, over time from the first sample: GPUs where there are any.

        `trial` is by default the point's first in the figures. Counters of CPU time are shown as cores kept busy.
        """
        run = self._run
        points = run.points
        counted = points[(points["point"] == point) & (points["status"] == "ok")]
        if counted.empty:
            raise TachoError(f"{run.path} has no trial of point {point} in the figures")
        number = int(counted["trial"].iloc[0]) if trial is None else trial
        gpu, host = (frame[(frame["point"] == point) & (frame["trial"] == number)] for frame in (run.gpu, run.host))
        panels = _gpu_panels(gpu) if not gpu.empty else _host_panels(host)
        if not panels:
            raise TachoError(
                f"{run.path} has no telemetry of point {point}, trial {number}: tacho run --telemetry 100ms"
            )
        figure, axes = _pyplot().subplots(
            len(panels), sharex=True, layout="constrained", figsize=(6.4, 1.6 * len(panels) + 0.6), squeeze=False
        )
        for ax, (label, series) in zip(axes[:, 0], panels, strict=True):
            for which, (device, times, values) in enumerate(series):
                style = _style(which) | {"marker": "."}
                ax.plot(times, values, label=device, **style)
            ax.set_ylabel(label)
            ax.set_ylim(bottom=0)
            ax.grid(visible=True, alpha=0.3)
            if len(series) > 1:
                ax.legend(fontsize="x-small")
        axes[-1, 0].set_xlabel("seconds from the first sample")
        figure.suptitle(f"Telemetry: point {point}, trial {number}, {name(counted.iloc[0])}")
        return figure  # type: ignore[no-any-return]

    def roofline(self, ax: Axes | None = None) -> Axes:
        """Each trial between the work its requests ask for and the ceilings that it was judged by.

        Across: FLOPs a byte of that work. Up: FLOPs of it a second. The roofs are the ceilings that `mfu` and `mbu` are
        fractions of. See docs/roofline.md.
        """
        points = self._run.points
        needed = ["model_flops", "model_weight_bytes", "model_kv_bytes", "seconds", "mfu", "mbu"]
        self._column(points, *needed)
        judged = points[points["status"] == "ok"].dropna(subset=needed)
        if judged.empty:
            reasons = pd.concat([points["mfu_null_reason"], points["mbu_null_reason"]]).dropna().unique()
            why = "; ".join(str(reason) for reason in reasons[:2]) or "no trial was judged"
            raise TachoError(f"{self._run.path} has no mfu and mbu: {why}")
        ax = _axes(ax)
        moved = judged["model_weight_bytes"].astype(float) + judged["model_kv_bytes"].astype(float)
        flops, seconds = judged["model_flops"].astype(float), judged["seconds"].astype(float)
        judged = judged.assign(intensity=flops / moved, rate=flops / seconds)
        # The ceilings themselves, whatever number of devices and whichever type they are of.
        judged = judged.assign(matrix=judged["rate"] / judged["mfu"], read=moved / seconds / judged["mbu"])
        lowest, highest = judged["intensity"].min() / 2, judged["intensity"].max() * 2
        roofs = judged.groupby([judged["matrix"].round(-6), judged["read"].round(-6)])[["matrix", "read"]].first()
        for which, (matrix, read) in enumerate(roofs.itertuples(index=False)):
            knee = matrix / read
            xs = sorted([lowest, knee, max(highest, knee * 2)])
            label = f"{matrix / 1e12:.3g} TFLOP/s, {read / 1e9:.4g} GB/s"
            ax.plot(
                xs, [min(matrix, read * x) for x in xs], color="0.3", linestyle=("-", "--", ":")[which % 3], label=label
            )
        for number, (key, group) in enumerate(judged.groupby("point")):
            label = f"point {key} · {name(group.iloc[0])}"
            ax.scatter(group["intensity"], group["rate"], s=16, label=label, **_style(number))
        ax.set(xscale="log", yscale="log", title="Roofline")
        ax.set(xlabel="FLOPs a byte that the requests ask for", ylabel="FLOPs of it a second")
        ax.legend(fontsize="small")
        return ax


def frontier(dots: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (latency, throughput) pairs that no other is at least as good as in both and better in one, by latency."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(dots), key=lambda dot: (dot[0], -dot[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


type Panel = tuple[str, list[tuple[str, pd.Series, pd.Series]]]


def _gpu_panels(gpu: pd.DataFrame) -> list[Panel]:
    shown = [
        ("utilization_percent", "utilisation (%)", 1.0),
        ("power_mw", "power (W)", 1e-3),
        ("sm_clock_mhz", "SM clock (MHz)", 1.0),
        ("memory_used_bytes", "memory (GiB)", 2.0**-30),
    ]
    start = int(gpu["time_ns"].min())
    panels: list[Panel] = []
    for column, label, factor in shown:
        series = [
            (str(uuid), (group["time_ns"].astype("int64") - start) / 1e9, group[column].astype("Float64") * factor)
            for uuid, group in gpu.groupby("uuid")
        ]
        if any(values.notna().any() for _, _, values in series):
            panels.append((label, series))
    return panels


def _host_panels(host: pd.DataFrame) -> list[Panel]:
    if len(host) < 2:
        return []
    times = host["time_ns"].astype("int64")
    seconds = (times - times.iloc[0]) / 1e9
    busy = host["cpu_ns"].astype("int64").diff() / times.diff()
    resident = host["rss_bytes"].astype("Float64") * 2.0**-30
    return [("cores kept busy", [("cell", seconds, busy)]), ("resident (GiB)", [("cell", seconds, resident)])]
