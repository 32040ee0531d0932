"""Run directories for the tests: one that a simulated engine makes, and broken copies of it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pytest

import tacho

mpl.use("Agg")

#: Times of a simulated clock, so that figures are the same everywhere.
SIM = {
    "engine": "sim",
    "engine_option": ["sim.time=virtual"],
    "input": 16,
    "output": 8,
    "max_trials": 6,
    "max_warmup": 2,
}


@pytest.fixture(scope="session", autouse=True)
def program() -> str:
    """The built program; a test of this package without it would test little."""
    named = os.environ.get("TACHO_BIN")
    if not named:
        pytest.exit("TACHO_BIN must name the built tacho; scripts/python.sh does it", returncode=2)
    return named


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over two batch sizes."""
    out = tmp_path_factory.mktemp("runs") / "sim"
    tacho.run(batch=[1, 8], requests=8, out=out, progress=False, **SIM)
    return out


@pytest.fixture
def damaged(directory: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the run without some files, or with others in their place."""

    def make(*without: str, **instead: str) -> Path:
        copy = tmp_path / "copy"
        shutil.copytree(directory, copy)
        for name in without:
            (copy / name).unlink()
        for name, text in instead.items():
            (copy / name.replace("_", ".")).write_text(text)
        return copy

    return make
