"""A run directory as data frames."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import pandas as pd

from ._errors import TachoError
from ._tables import SCHEMA, FrameKind, read_info, read_summary, read_summary_pl, read_table, read_table_pl

if TYPE_CHECKING:
    import polars as pl

    from ._plot import Plots

__all__ = ["SCHEMA", "Run", "concat", "load"]


class Run[Frame]:
    """A run directory. Tables are read when they are first asked for, and kept.

    `Frame` is what its tables are: pandas' or Polars' `DataFrame`, as `load` was told.
    """

    def __init__(self, directory: Path, kind: FrameKind, info: dict[str, Any]) -> None:
        """Use `load`."""
        self.path = directory
        self.kind = kind
        #: `run.json`: the machine, the program, the command, the plan, the engines as they ran.
        self.info = info

    def __repr__(self) -> str:
        """Which run, and where."""
        return f"<tacho run {self.id} in {self.path}>"

    @property
    def id(self) -> str:
        """Names the run in every table."""
        return str(self.info["run_id"])

    def _table(self, file: str) -> Frame:
        read = read_table if self.kind == "pandas" else read_table_pl
        return cast(Frame, read(self.path, file))

    @cached_property
    def points(self) -> Frame:
        """A row a point and timed trial, and one without a trial for each point that failed."""
        return self._table("points.parquet")

    @cached_property
    def points_pl(self) -> pl.DataFrame:
        """`points` as Polars has it, whatever the other tables are."""
        return read_table_pl(self.path, "points.parquet")

    @cached_property
    def summary(self) -> Frame:
        """A row a point: medians over trials, with the interval of the throughput."""
        read = read_summary if self.kind == "pandas" else read_summary_pl
        return cast(Frame, read(self.path))

    @cached_property
    def requests(self) -> Frame:
        """A row a request of a timed trial, superseded ones among them: see `counted`."""
        return self._table("requests.parquet")

    @cached_property
    def tokens(self) -> Frame:
        """A row each time that tokens of a request became visible, in timed step-loop trials."""
        return self._table("tokens.parquet")

    @cached_property
    def steps(self) -> Frame:
        """A row a step of the engine, in timed step-loop trials."""
        return self._table("steps.parquet")

    @cached_property
    def gpu(self) -> Frame:
        """A row a sample of a GPU; empty without one."""
        return self._table("gpu.parquet")

    @cached_property
    def host(self) -> Frame:
        """A row a sample of the cell's process tree and its machine."""
        return self._table("host.parquet")

    @cached_property
    def kernels(self) -> Frame:
        """A row a kernel and traced trial, for the kernels that took longest; only of traced runs."""
        return self._table("kernels.parquet")

    def counted(self, table: Frame) -> Frame:
        """The rows of trials that are in the figures: without trials that were run again or broke off."""
        keys = ["point", "trial"]
        if self.kind == "pandas":
            frame, points = cast(pd.DataFrame, table), cast(pd.DataFrame, self.points)
            counted = points.loc[points["status"] == "ok", keys]
            return cast(Frame, frame.merge(counted, on=keys, how="inner"))
        lazy, all_points = cast("pl.DataFrame", table), self.points_pl
        in_figures = all_points.filter(all_points["status"] == "ok").select(keys)
        return cast(Frame, lazy.join(in_figures, on=keys, how="semi", maintain_order="left"))

    @cached_property
    def plot(self) -> Plots:
        """The report's figures with Matplotlib: `run.plot.throughput()`."""
        from ._plot import Plots  # noqa: PLC0415 - Matplotlib is optional

        if self.kind == "pandas":
            return Plots(cast("Run[pd.DataFrame]", self))
        return Plots(load(self.path))


type Directory = str | os.PathLike[str]


@overload
def load(directory: Directory, frame: Literal["pandas"] = "pandas") -> Run[pd.DataFrame]: ...
@overload
def load(directory: Directory, frame: Literal["polars"]) -> Run[pl.DataFrame]: ...
def load(directory: Directory, frame: FrameKind = "pandas") -> Run[Any]:
    """Opens a run directory, finished or not; its tables are read when they are asked for.

    `frame` is what tables are read into: "pandas" or "polars". Raises `TachoError` for what is no run directory or is
    of a newer schema; a table that is not there raises it when it is asked for.
    """
    if frame not in ("pandas", "polars"):
        raise TachoError(f'expected frame="pandas" or frame="polars", found {frame!r}')
    path = Path(directory)
    return Run(path, frame, read_info(path))


def concat(runs: Iterable[Run[pd.DataFrame]], table: str = "points") -> pd.DataFrame:
    """One table of several runs, with the column `run_id` to tell them apart.

    Raises `TachoError` where the runs' tables have different columns: figures of different definitions must not end
    up in one column. `tacho report DIR` with one version of Tacho makes all of them anew.
    """
    frames: list[pd.DataFrame] = []
    first: Run[pd.DataFrame] | None = None
    for run in runs:
        frame = cast(pd.DataFrame, getattr(run, table))
        if first is None:
            first = run
        else:
            _check_same(first, run, frames[0], frame)
        if "run_id" not in frame.columns:
            frame = frame.assign(run_id=run.id)
        frames.append(frame)
    if not frames:
        raise TachoError("expected at least one run, found none")
    return pd.concat(frames, ignore_index=True)


def _check_same(first: Run[pd.DataFrame], run: Run[pd.DataFrame], one: pd.DataFrame, other: pd.DataFrame) -> None:
    schemas = (first.info["schema"], run.info["schema"])
    if schemas[0] != schemas[1]:
        raise TachoError(f"{first.path} has schema {schemas[0]} and {run.path} {schemas[1]}: they do not mix")
    differing = sorted(set(one.columns).symmetric_difference(other.columns) - {"run_id"})
    if differing:
        raise TachoError(
            f"{first.path} and {run.path} have different columns ({', '.join(differing[:5])}): they were made by "
            "different versions of Tacho; make both anew with `tacho report DIR`"
        )
