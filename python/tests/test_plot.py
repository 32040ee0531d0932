import math
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import tacho
from tacho._lines import lines
from tacho._plot import frontier


@pytest.fixture(autouse=True)
def _closed() -> None:
    plt.close("all")


def test_throughput_shows_the_summarys_medians_and_names_a_double(directory: Path) -> None:
    run = tacho.load(directory)
    ax = run.plot.throughput()
    line = ax.containers[0].lines[0]
    assert list(line.get_xdata()) == [1, 8]
    assert list(line.get_ydata()) == list(run.summary["output_token_throughput_median"])
    [text] = ax.get_legend().get_texts()
    assert text.get_text() == "sim (SIMULATED)"
    assert ax.get_xlabel() == "batch size (requests a call)"


def test_latency_shows_the_percentiles_asked_for(directory: Path) -> None:
    run = tacho.load(directory)
    ax = run.plot.latency("tpot", ["p50", "p99"])
    assert [list(line.get_ydata()) for line in ax.lines] == [
        list(run.summary["tpot_p50_ms"]),
        list(run.summary["tpot_p99_ms"]),
    ]
    with pytest.raises(tacho.TachoError, match="found 'tbt'"):
        run.plot.latency("tbt")


def test_pareto_joins_what_nothing_else_beats(directory: Path) -> None:
    tacho.load(directory).plot.pareto()
    assert frontier([(1, 10), (2, 20), (3, 15), (2, 18), (4, 20)]) == [(1, 10), (2, 20)]


def test_telemetry_shows_the_host_without_a_gpu_and_the_gpu_with_one(directory: Path) -> None:
    run = tacho.load(directory)
    assert run.gpu.empty
    figure = run.plot.telemetry(point=1)
    assert [ax.get_ylabel() for ax in figure.axes] == ["cores kept busy", "resident (GiB)"]
    row = {"point": 1, "trial": 0, "uuid": "GPU-a", "utilization_percent": 90, "power_mw": 1e5, "sm_clock_mhz": None}
    run.gpu = pd.DataFrame([{**row, "time_ns": at, "memory_used_bytes": 2**30} for at in (10**9, 2 * 10**9)])
    figure = run.plot.telemetry(point=1)
    # What the device does not tell has no panel.
    assert [ax.get_ylabel() for ax in figure.axes] == ["utilisation (%)", "power (W)", "memory (GiB)"]
    assert list(figure.axes[1].lines[0].get_ydata()) == [100, 100]
    with pytest.raises(tacho.TachoError, match="no trial of point 7"):
        run.plot.telemetry(point=7)


def test_roofline_puts_trials_under_the_ceilings_they_were_judged_by(directory: Path) -> None:
    run = tacho.load(directory)
    with pytest.raises(tacho.TachoError, match="has no mfu and mbu: "):
        run.plot.roofline()
    # Half of 2 TFLOP/s, a quarter of 1 TB/s.
    run.points = run.points.assign(
        model_flops=1e12, seconds=1.0, mfu=0.5, model_weight_bytes=2e11, model_kv_bytes=5e10, mbu=0.25
    )
    ax = run.plot.roofline()
    roof = ax.lines[0]
    assert list(roof.get_ydata())[-1] == pytest.approx(2e12)
    assert 2.0 in [pytest.approx(x) for x in roof.get_xdata()]
    assert roof.get_label() == "2 TFLOP/s, 1000 GB/s"
    assert ax.collections[0].get_offsets()[0].tolist() == [4.0, 1e12]


def test_a_column_that_is_not_there_is_named(directory: Path) -> None:
    run = tacho.load(directory)
    run.summary = run.summary.drop(columns=["output_token_throughput_low"])
    with pytest.raises(tacho.TachoError, match=r"no column output_token_throughput_low.*tacho report"):
        run.plot.throughput()


def test_a_run_without_figures_says_why(directory: Path) -> None:
    run = tacho.load(directory)
    run.summary = run.summary.assign(status="failed", reason="out of memory")
    with pytest.raises(tacho.TachoError, match="out of memory"):
        run.plot.throughput()


def test_lines_run_over_the_first_numeric_axis() -> None:
    def row(point: int, axes: str, value: float | None) -> dict[str, object]:
        return {"point": point, "axes": axes, "engine": "a", "double": None, "y": value}

    rows = [
        row(0, '{"model": "8", "kind": "x", "batch": "32"}', 3.0),
        row(1, '{"model": "8", "kind": "x", "batch": "4"}', None),
        row(2, '{"model": "9", "kind": "x", "batch": "4"}', 5.0),
    ]
    found, axis = lines(pd.DataFrame(rows), ["y"])
    assert axis == "batch"
    assert [(line.label, line.x) for line in found] == [
        ("a · model 8 · kind x", [4, 32]),
        ("a · model 9 · kind x", [4]),
    ]
    assert math.isnan(found[0].values["y"][0])
    found, axis = lines(pd.DataFrame([row(3, "{}", 1.0), row(4, "{}", 2.0)]), ["y"])
    assert (axis, found[0].x) == (None, [3, 4])
