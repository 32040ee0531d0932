import os
import signal
import stat
import sys
import threading
from pathlib import Path

import pytest
from conftest import SIM

import tacho
from tacho._launch import arguments


def test_flags_become_the_command_line() -> None:
    flags = {"batch": [1, 2], "zip": True, "quiet": False, "engine_option": ["sim.a=1,2", "sim.b=3"], "seed": None}
    assert arguments(Path("my plan.toml"), flags) == [
        *["run", "--json", "--plan", "my plan.toml", "--batch", "1,2", "--zip=true", "--quiet=false"],
        *["--engine-option", "sim.a=1,2", "--engine-option", "sim.b=3"],
    ]


def test_a_run_tells_how_far_it_is_and_is_loaded(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    out = tmp_path / "run"
    run = tacho.run(batch=[1, 2], requests=2, out=out, progress=lambda *line: told.append(line), **SIM)
    assert run.path == out
    assert list(run.summary["status"]) == ["ok", "ok"]
    assert {(place, total) for _, place, total in told if total} == {(1, 2), (2, 2)}


@pytest.mark.filterwarnings("ignore::tqdm.TqdmWarning")
def test_a_bar_is_left_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tacho.run(batch=1, requests=1, out=tmp_path / "run", **SIM)
    assert "1/1" in capsys.readouterr().err


def test_a_wrong_plan_is_told_in_the_programs_words(tmp_path: Path) -> None:
    with pytest.raises(tacho.RunFailed, match=r"(?s)unknown engine 'simm'.*did you mean 'sim'") as failed:
        tacho.run(engine="simm", out=tmp_path / "run", progress=False)
    assert failed.value.code == 2


def test_failed_points_are_a_warning(tmp_path: Path) -> None:
    # The simulated KV cache is too small for the second length.
    flags = {**SIM, "engine_option": ["sim.time=virtual", "sim.kv_tokens=64"], "input": [16, 512]}
    with pytest.warns(tacho.PointsFailedWarning, match="1 points could not be measured"):
        run = tacho.run(batch=1, requests=1, out=tmp_path / "run", progress=False, **flags)
    assert sorted(run.summary["status"]) == ["failed", "ok"]


def test_an_interrupt_ends_the_run_tidily_and_it_can_be_resumed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    flags = {**SIM, "engine_option": ["sim.time=real"], "batch": [1, 2, 4, 8], "out": out}

    def interrupt(line: str, place: int, total: int) -> None:
        if place == 2:
            signal.raise_signal(signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    # Where the tests run in the background, a shell may have had the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            tacho.run(requests=8, progress=interrupt, **flags)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(tacho.load(out).summary) < 4
    assert list(tacho.run(resume=out, progress=False).summary["status"]) == ["ok"] * 4


def test_an_absent_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TACHO_BIN", str(tmp_path / "none"))
    with pytest.raises(tacho.TachoError, match="TACHO_BIN names"):
        tacho.run("quick")
    monkeypatch.delenv("TACHO_BIN")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(tacho.TachoError, match="no program `tacho` on PATH"):
        tacho.run("quick")


def test_a_program_that_breaks_off_is_no_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "tacho"
    broken.write_text(f"#!{sys.executable}\nimport sys\nprint('half', file=sys.stderr)\nprint('{{')\nsys.exit(9)\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("TACHO_BIN", os.fspath(broken))
    with pytest.raises(tacho.RunFailed, match="exit status 9: half"):
        tacho.run("quick", progress=False)
