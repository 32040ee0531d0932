"""Starts the `tacho` program and watches it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ._errors import PointsFailedWarning, RunFailed, TachoError
from ._run import Run, load

if TYPE_CHECKING:
    import pandas as pd

type Flag = str | int | float | bool | os.PathLike[str] | Sequence[str | int | float]
#: Told each line that the program says, with the point's place and the number of points once known.
type Listener = Callable[[str, int, int], None]

#: `[3/8] what happened`: the program's lines of progress where standard error is no terminal.
_PROGRESS = re.compile(r"\[(\d+)/(\d+)\] (.*)")
_POINTS_FAILED, _INTERRUPTED = 1, 130


def program() -> str:
    """The `tacho` program: what TACHO_BIN names, else the one on PATH."""
    named = os.environ.get("TACHO_BIN")
    if named:
        if not os.access(named, os.X_OK):
            raise TachoError(f"TACHO_BIN names {named}, which is no program; build it with `make build`")
        return named
    found = shutil.which("tacho")
    if found is None:
        raise TachoError(
            "there is no program `tacho` on PATH: build it with `make build` and name it in TACHO_BIN "
            "(target/release/tacho); its cell programs must lie beside it"
        )
    return found


def arguments(plan: str | os.PathLike[str] | None, flags: Mapping[str, Flag | None]) -> list[str]:
    """The command line: `batch=[1, 2]` is `--batch 1,2`, `zip=True` is `--zip=true`."""
    args = ["run", "--json"]
    if plan is not None:
        args += ["--plan", os.fspath(plan)]
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            args.append(f"{flag}={str(value).lower()}")
        elif isinstance(value, str | int | float | os.PathLike):
            args += [flag, os.fspath(value) if isinstance(value, os.PathLike) else str(value)]
        elif name in ("model", "engine", "engine_option"):
            # Their values may hold commas.
            args += [part for item in value for part in (flag, str(item))]
        else:
            args += [flag, ",".join(str(item) for item in value)]
    return args


def run(
    plan: str | os.PathLike[str] | None = None,
    *,
    progress: bool | Listener = True,
    env: Mapping[str, str] | None = None,
    **flags: Flag | None,
) -> Run[pd.DataFrame]:
    """Runs a plan and loads what came of it.

    `plan` is a plan file or the name of a shipped plan; `flags` are those of `tacho run` with underscores for dashes
    (`engine="sim"`, `batch=[1, 2, 4]`, `max_time="60s"`, `out="runs/x"`). `progress` is True for a bar (with tqdm) or
    lines on standard error, False for none, or a function that is told each line. `env` adds environment variables.

    Points that failed are a `PointsFailedWarning`; the others are in the results. A run that left no results is
    `RunFailed` with the program's own words. An interrupt ends the run tidily and is then raised again; what was
    measured is kept, and `tacho.run(resume=DIR)` finishes it.
    """
    command = [program(), *arguments(plan, flags)]
    listener = _listener(progress)
    # In a session of its own: an interrupt in a terminal would otherwise reach it twice, which means "at once".
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    answer: list[str] = []
    reader = threading.Thread(target=_drain, args=(process.stdout, answer), daemon=True)
    reader.start()
    try:
        said = _watch(process.stderr, listener)
        code = process.wait()
    except BaseException:
        # KeyboardInterrupt above all. The program writes its tables and leaves.
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        process.wait()
        raise
    finally:
        reader.join()
        process.stdout.close()
        process.stderr.close()
        listener.close()
    return _loaded(command, code, "".join(answer), said)


def _loaded(command: list[str], code: int, answer: str, said: str) -> Run[pd.DataFrame]:
    try:
        told: dict[str, Any] = json.loads(answer)
        directory = Path(told["run_directory"])
    except (ValueError, KeyError):
        errors = [line for line in said.splitlines() if line.startswith("error:")]
        # From the first line of the error on: its help follows it.
        reason = said[said.index(errors[0]) :].strip() if errors else said.strip() or "it said nothing"
        text = f"`{' '.join(command)}` ended with exit status {code}: {reason}"
        raise RunFailed(text, code, said) from None
    if code == _INTERRUPTED:
        raise RunFailed(f"the run was interrupted; tacho.run(resume={str(directory)!r}) finishes it", code, said)
    if code != 0:
        failed = told.get("failed_points")
        warnings.warn(
            f"{failed} points could not be measured: see `reason` in the points of {directory}",
            PointsFailedWarning,
            stacklevel=3,
        )
    return load(directory)


def _drain(pipe: IO[str], into: list[str]) -> None:
    into.append(pipe.read())


def _watch(pipe: IO[str], listener: _Listener) -> str:
    lines: list[str] = []
    place = total = 0
    for line in pipe:
        lines.append(line)
        found = _PROGRESS.match(line)
        if found:
            place, total = int(found[1]), int(found[2])
        listener(found[3] if found else line.rstrip(), place, total)
    return "".join(lines)


class _Listener:
    """Tells nobody."""

    def __call__(self, line: str, place: int, total: int) -> None:
        """A line was said."""

    def close(self) -> None:
        """The run is over."""


class _Lines(_Listener):
    def __call__(self, line: str, place: int, total: int) -> None:
        print(f"[{place}/{total}] {line}" if total else line, file=sys.stderr)


class _Told(_Listener):
    def __init__(self, whom: Listener) -> None:
        self._whom = whom

    def __call__(self, line: str, place: int, total: int) -> None:
        self._whom(line, place, total)


class _Bar(_Listener):
    def __init__(self, bar: Any) -> None:  # noqa: ANN401 - tqdm has no types
        self._bar = bar

    def __call__(self, line: str, place: int, total: int) -> None:
        if total:
            self._bar.total = total
            # A point is done when the next one begins.
            self._bar.n = place - 1
            self._bar.set_postfix_str(line[:100])

    def close(self) -> None:
        if self._bar.total:
            self._bar.n = self._bar.total
        self._bar.set_postfix_str("")
        self._bar.close()


def _listener(progress: bool | Listener) -> _Listener:
    if callable(progress):
        return _Told(progress)
    if not progress:
        return _Listener()
    try:
        from tqdm.auto import tqdm  # noqa: PLC0415 - optional
    except ImportError:
        return _Lines()
    return _Bar(tqdm(total=None, unit="point"))
