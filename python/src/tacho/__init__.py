"""Reads Tacho's run directories into data frames, plots them, and starts runs.

    import tacho
    run = tacho.load("runs/20260101-120000-quick")
    run.points                # a row a point and trial, pandas; `run.points_pl` for Polars
    run.plot.throughput()     # what the report shows, with Matplotlib
    run = tacho.run("quick", model="model.gguf", batch=[1, 2, 4])

What each column is, with its unit, is in docs/schema.md; how each figure is computed, in docs/metrics.md.
"""

from ._errors import PointsFailedWarning, RunFailed, TachoError
from ._launch import run
from ._run import SCHEMA, Run, concat, load

__all__ = ["SCHEMA", "PointsFailedWarning", "Run", "RunFailed", "TachoError", "concat", "load", "run"]
__version__ = "0.1.0"
