"""Reads the files of a run directory, and says what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ._errors import TachoError

if TYPE_CHECKING:
    import polars as pl

FORMAT = "tacho-run"
#: The newest schema of a run directory that this package reads; raised when a file changes its meaning.
SCHEMA = 1

FrameKind = Literal["pandas", "polars"]


def read_info(directory: Path) -> dict[str, Any]:
    """`run.json`, checked to be a run's and of a schema known here."""
    path = directory / "run.json"
    if not directory.is_dir():
        raise TachoError(f"{directory} is no run directory: there is no such folder")
    if not path.is_file():
        raise TachoError(f"{directory} is no run directory: it has no run.json")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TachoError(f"{path} is not JSON: {error}") from error
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise TachoError(f'{path} is not of a run: expected "format": "{FORMAT}" in it')
    schema = info.get("schema")
    if not isinstance(schema, int):
        raise TachoError(f'{path} has no "schema", a whole number')
    if schema > SCHEMA:
        raise TachoError(
            f"{directory} has schema {schema}, and this package reads up to {SCHEMA}: "
            "install the Python package of the tacho that wrote it"
        )
    return info


def missing(directory: Path, file: str) -> TachoError:
    """Why a table is not there."""
    if file == "kernels.parquet":
        return TachoError(f"{directory} has no {file}: its run was not traced (tacho run --trace)")
    if (directory / "journal.jsonl").is_file():
        return TachoError(
            f"{directory} has no {file}: the run was stopped before its end. Finish it with "
            f"`tacho run --resume {directory}`, or make the tables of what there is with `tacho report {directory}`"
        )
    return TachoError(f"{directory} has no {file}, and no journal.jsonl to make it anew from")


def _arrow(directory: Path, file: str) -> pa.Table:
    path = directory / file
    if not path.is_file():
        raise missing(directory, file)
    try:
        # Not as a data set: a folder of the path that looks like `name=value` would become a column.
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise TachoError(
            f"{path} cannot be read as Parquet: {error}; make it anew with `tacho report {directory}`"
        ) from error


def read_table(directory: Path, file: str) -> pd.DataFrame:
    """A Parquet table. Columns that may be null keep whole numbers whole (pandas' nullable types)."""
    table = _arrow(directory, file)
    return table.to_pandas(types_mapper=_NULLABLE.get)


_NULLABLE = {
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


def read_table_pl(directory: Path, file: str) -> pl.DataFrame:
    """A Parquet table as Polars has it."""
    frame = polars().from_arrow(_arrow(directory, file))
    return frame  # type: ignore[no-any-return]


def _rows(directory: Path) -> list[dict[str, Any]]:
    path = directory / "summary.json"
    if not path.is_file():
        raise missing(directory, "summary.json")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TachoError(f"{path} is not JSON: {error}; make it anew with `tacho report {directory}`") from error
    if not isinstance(rows, list):
        raise TachoError(f"{path} is no summary: expected a list of points")
    return rows


def read_summary(directory: Path) -> pd.DataFrame:
    """`summary.json`: a row a point. Not the CSV, in which a null and an empty text are the same."""
    return pd.DataFrame.from_records(_rows(directory)).convert_dtypes()


def read_summary_pl(directory: Path) -> pl.DataFrame:
    """The same as Polars has it."""
    frame = polars().DataFrame(_rows(directory), infer_schema_length=None)
    return frame  # type: ignore[no-any-return]


def polars() -> Any:  # noqa: ANN401 - the module, which may be absent
    """The module Polars, or a sentence that says how to get it."""
    try:
        import polars  # noqa: PLC0415 - optional
    except ImportError as error:
        raise TachoError("Polars is not installed: pip install 'tacho[polars]'") from error
    return polars
