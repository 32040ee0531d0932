"""Points as lines over an axis, as the report's charts have them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

_TITLES = {
    "batch": "batch size (requests a call)",
    "concurrency": "concurrency (requests in flight)",
    "requests": "number of requests",
    "input": "input length (tokens)",
    "output": "output length (tokens)",
    "rate": "rate (requests/s)",
}


@dataclass
class Line:
    """Points of one engine and one value of every axis but the first numeric one, in order of `x`."""

    label: str
    x: list[float] = field(default_factory=list)
    #: By column; a value that is missing is NaN.
    values: dict[str, list[float]] = field(default_factory=dict)


def name(row: pd.Series) -> str:
    """The engine's name; a double is called one."""
    simulated = pd.notna(row.get("double"))
    return f"{row['engine']} (SIMULATED)" if simulated else str(row["engine"])


def axis_title(axis: str | None) -> str:
    """What is counted along an axis."""
    return "point of the plan" if axis is None else _TITLES.get(axis, axis)


def lines(summary: pd.DataFrame, columns: Sequence[str]) -> tuple[list[Line], str | None]:
    """The lines, and the axis they run over: the first with at least two values, all of them numbers."""
    axes = [json.loads(text) for text in summary["axes"]]
    axis = _numeric_axis(axes)
    found: dict[str, Line] = {}
    order = (
        sorted(range(len(axes)), key=lambda at: _number(axes[at].get(axis, "")) or 0.0) if axis else range(len(axes))
    )
    # Labels in the order of the plan, dots in the order of the axis.
    for at in range(len(axes)):
        label = _label(summary.iloc[at], axes[at], axis)
        found.setdefault(label, Line(label, values={column: [] for column in columns}))
    for at in order:
        row = summary.iloc[at]
        line = found[_label(row, axes[at], axis)]
        line.x.append(float(axes[at][axis]) if axis else float(row["point"]))
        for column in columns:
            line.values[column].append(math.nan if pd.isna(row[column]) else float(row[column]))
    return list(found.values()), axis


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _numeric_axis(axes: Sequence[dict[str, str]]) -> str | None:
    # A model's name is a name, digits or not.
    for axis in (axis for axis in axes[0] if axis != "model"):
        values = [_number(of.get(axis, "")) for of in axes]
        if None not in values and len(set(values)) > 1:
            return axis
    return None


def _label(row: pd.Series, axes: dict[str, str], but: str | None) -> str:
    if but is None:
        return name(row)
    others = [f"{axis} {value}" for axis, value in axes.items() if axis not in (but, "engine")]
    return " · ".join([name(row), *others])
