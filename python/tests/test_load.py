import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import tacho


def test_points_are_the_files_rows_with_their_types(directory: Path) -> None:
    run = tacho.load(directory)
    points = run.points
    assert len(points) == len(json.loads((directory / "points.json").read_text()))
    assert points["point"].dtype == pd.UInt32Dtype()
    # Null, not 0: a whole number that may be missing stays one.
    assert points["signal"].isna().all()
    assert set(points["run_id"]) == {run.id}
    assert run.points is points


def test_medians_of_points_are_the_summarys(directory: Path) -> None:
    run = tacho.load(directory)
    counted = run.points[(run.points["status"] == "ok") & (run.points["method"] == "generate")]
    medians = counted.groupby("point")["output_token_throughput"].median()
    assert list(medians) == list(run.summary["output_token_throughput_median"])


def test_polars_has_the_same_tables(directory: Path) -> None:
    run = tacho.load(directory, frame="polars")
    pandas_run = tacho.load(directory)
    assert isinstance(run.points, pl.DataFrame)
    assert run.points.columns == list(pandas_run.points.columns)
    assert run.points["output_token_throughput"].to_list() == pandas_run.points["output_token_throughput"].to_list()
    assert run.summary.height == len(pandas_run.summary)
    assert pandas_run.points_pl.equals(run.points)
    assert run.counted(run.requests).height == len(pandas_run.counted(pandas_run.requests))


def test_streamed_tables_add_up_to_the_trials(directory: Path) -> None:
    run = tacho.load(directory)
    per_trial = run.counted(run.requests).groupby(["point", "trial"])["output_tokens"].sum()
    ok = run.points[run.points["status"] == "ok"].set_index(["point", "trial"])["output_tokens"]
    assert per_trial.sort_index().tolist() == ok.sort_index().tolist()
    tokens = run.tokens.groupby(["point", "trial"])["tokens"].sum()
    steps = run.points[run.points["method"] == "steps"].set_index(["point", "trial"])["output_tokens"]
    assert tokens.sort_index().tolist() == steps.sort_index().tolist()
    assert len(run.steps) > 0
    assert list(run.gpu.columns)[:3] == ["point", "trial", "time_ns"]
    assert len(run.host) > 0


def test_rows_of_superseded_trials_are_not_counted(directory: Path) -> None:
    run = tacho.load(directory)
    first = run.points.index[0]
    run.points.loc[first, "status"] = "superseded"
    trial = (run.points.loc[first, "point"], run.points.loc[first, "trial"])
    counted = run.counted(run.requests)
    assert not ((counted["point"] == trial[0]) & (counted["trial"] == trial[1])).any()
    assert len(counted) < len(run.requests)


def test_runs_are_told_apart_when_put_together(directory: Path, damaged: Callable[..., Path]) -> None:
    one, other = tacho.load(directory), tacho.load(damaged())
    both = tacho.concat([one, other])
    assert len(both) == 2 * len(one.points)
    assert "run_id" in tacho.concat([one, other], "requests")
    other.points = other.points.drop(columns=["mfu"])
    with pytest.raises(tacho.TachoError, match=r"different columns \(mfu\).*tacho report"):
        tacho.concat([one, other])
    with pytest.raises(tacho.TachoError, match="at least one run"):
        tacho.concat([])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is not of a run"),
        ('{"format": "other"}', '"format": "tacho-run"'),
        ('{"format": "tacho-run"}', 'has no "schema"'),
        ('{"format": "tacho-run", "schema": 99}', "schema 99, and this package reads up to 1"),
    ],
)
def test_what_is_no_run_is_refused(damaged: Callable[..., Path], text: str, said: str) -> None:
    with pytest.raises(tacho.TachoError, match=re.escape(said)):
        tacho.load(damaged(run_json=text))


def test_a_half_written_run_says_how_to_finish_it(damaged: Callable[..., Path], tmp_path: Path) -> None:
    run = tacho.load(damaged("points.parquet", "summary.json"))
    with pytest.raises(tacho.TachoError, match=r"stopped before its end.*--resume.*tacho report"):
        _ = run.points
    with pytest.raises(tacho.TachoError, match=r"no summary\.json"):
        _ = run.summary
    with pytest.raises(tacho.TachoError, match="not traced"):
        _ = run.kernels
    with pytest.raises(tacho.TachoError, match="no such folder"):
        tacho.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(tacho.TachoError, match=r"no run\.json"):
        tacho.load(tmp_path / "empty")


def test_damaged_tables_and_wrong_frames_are_named(damaged: Callable[..., Path], directory: Path) -> None:
    run = tacho.load(damaged(points_parquet="PAR1", summary_json="{"))
    with pytest.raises(tacho.TachoError, match="cannot be read as Parquet"):
        _ = run.points
    with pytest.raises(tacho.TachoError, match=r"summary\.json is not JSON"):
        _ = run.summary
    with pytest.raises(tacho.TachoError, match="found 'spark'"):
        tacho.load(directory, frame="spark")  # type: ignore[call-overload]
