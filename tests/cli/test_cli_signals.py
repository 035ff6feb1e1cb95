"""Signals end a command as a cancel does, in a process of its own: what is kept, what is said, the exit status."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sap_core as sap
from sap_core.cli import main
from sap_core.cli.signals import StopRequest
from sap_core.errors import SapError
from sap_core.models.loaded import LoadedModel

if not hasattr(os, "fork"):
    pytest.skip("needs fork", allow_module_level=True)

CAPTURE = ["capture", "--length", "24", "--steps", "20", "--prompt", "w1 w2", "--temperature", "0.7"]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pass through a model takes its time."""
    whole = LoadedModel.logits

    def logits(self, *args, **kwargs):
        time.sleep(0.25)
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(LoadedModel, "logits", logits)


def signalled(words: list[str], ready: Callable[[str], bool], *numbers: int, patience: float = 60) -> tuple[int, str]:
    """Run a command in a child, send it signals once ``ready`` (given what it said) holds; exit status and errors."""
    with tempfile.TemporaryFile() as said:

        def text() -> str:
            return os.pread(said.fileno(), 1 << 20, 0).decode()

        child = os.fork()
        if child == 0:
            status = 99
            try:
                os.setsid()
                nothing = os.open(os.devnull, os.O_RDWR)
                for target, source in ((0, nothing), (1, nothing), (2, said.fileno())):
                    os.dup2(source, target)
                import sys

                sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                status = main(words)
                sys.stderr.flush()
            finally:
                os._exit(status)
        end = time.monotonic() + patience
        code = None
        while code is None and not ready(text()):
            assert time.monotonic() < end, text()
            found, status = os.waitpid(child, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if found else None
            time.sleep(0.01)
        for number in numbers if code is None else ():
            os.kill(child, number)
            time.sleep(0.1)
        while code is None:
            found, status = os.waitpid(child, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if found else None
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
        return code, text()


def last_line(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.strip()]
    assert sum(line.startswith("sap: ") for line in lines) == 1 and "Traceback" not in errors, errors
    return lines[-1]


def recorded(out: Path) -> Callable[[str], bool]:
    def ready(_: str) -> bool:
        try:
            return sap.open_run(out, unfinished=True).trajectory.sizes["step"] >= 2
        except SapError:
            return False

    return ready


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)], ids=lambda n: str(int(n))
)
def test_a_capture_keeps_its_steps_and_goes_on(
    tiny_diffusion: Path, tmp_path: Path, slow: None, capsys: pytest.CaptureFixture, number: int, status: int
) -> None:
    words = [*CAPTURE, "--model", str(tiny_diffusion)]
    out = tmp_path / "cut"
    code, errors = signalled([*words, "--out", str(out)], recorded(out), number)
    line = last_line(errors)
    name = signal.Signals(number).name
    assert code == status and line.startswith(f"sap: Stopped by {name}; ")
    assert line.endswith(f"of 20 steps are kept in {out}; go on with `sap capture --resume {out}`.")
    run = sap.open_run(out)
    steps = run.trajectory.sizes["step"]
    assert run.state == "cancelled" and 2 <= steps < 20 and f"{steps} of 20 steps" in line
    assert main(["sinks", str(out)]) == 0 and f"cut is cancelled: {steps} of 20 steps" in capsys.readouterr().out
    assert main(["heads", str(out), "--json"]) == 0 and f"{steps} of 20 steps" in capsys.readouterr().err
    if number != signal.SIGTERM:
        return
    assert main([*words, "--out", str(tmp_path / "whole"), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert main(["capture", "--resume", str(out), "--json"]) == 0
    resumed = json.loads(capsys.readouterr().out)
    assert resumed["text"] == whole["text"] and resumed["sizes"] == whole["sizes"] and resumed["run"] == str(out)
    one, other = (sap.open_run(path).trajectory for path in (tmp_path / "whole", out))
    assert all(np.array_equal(one[n].values, other[n].values, equal_nan=one[n].dtype.kind == "f") for n in one)


@pytest.mark.slow
def test_a_killed_capture_opens_as_unfinished(
    tiny_diffusion: Path, tmp_path: Path, slow: None, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "cut"
    words = [*CAPTURE, "--model", str(tiny_diffusion), "--out", str(out)]
    code, _ = signalled(words, recorded(out), signal.SIGKILL)
    assert code == -signal.SIGKILL
    for command in (["sinks"], ["heads"], ["figure", "--out", str(tmp_path / "f.svg")], ["report", "--out", "x"]):
        assert main([command[0], str(out), *command[1:]]) == 2
        told = capsys.readouterr().err
        assert "sap capture --resume cut" in told and "--unfinished" in told
    steps = sap.open_run(out, unfinished=True).trajectory.sizes["step"]
    assert main(["sinks", str(out), "--unfinished", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["partial"] == f"{steps} of 20 steps"
    assert main(["compare", str(out), str(out), "--unfinished"]) == 0
    assert f"cut is unfinished: {steps} of 20 steps" in capsys.readouterr().out
    assert main(["report", str(out), "--unfinished", "--out", str(tmp_path / "r.html")]) == 0
    assert f"{steps} of 20 steps" in (tmp_path / "r.html").read_text()
    assert main(["capture", "--resume", str(out), "--steps", "9"]) == 2
    assert "was begun with '20'" in capsys.readouterr().err
    assert main(["capture", "--resume", str(out), "--out", str(tmp_path / "x")]) == 2
    assert main(["capture", "--resume", str(out)]) == 0 and sap.open_run(out).state == "finished"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["prune", "--method", "wanda", "--sparsity", "0.5", "--samples", "16", "--out", "OUT"],
        ["evaluate", "--samples", "32"],
        ["elastic", "--method", "wanda", "--samples", "16", "--out", "OUT"],
    ],
    ids=lambda words: words[0],
)
def test_other_long_commands_leave_nothing(tiny_diffusion: Path, tmp_path: Path, slow: None, words: list[str]) -> None:
    words = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    code, errors = signalled([*words, "--model", str(tiny_diffusion)], lambda said: bool(said.strip()), signal.SIGTERM)
    assert code == 143
    assert last_line(errors) == "sap: Stopped by SIGTERM; nothing was written; run the same command again."
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_step_that_takes_too_long_is_interrupted(tiny_diffusion: Path, tmp_path: Path, monkeypatch) -> None:
    whole = LoadedModel.logits

    def logits(self, *args, **kwargs):
        time.sleep(0.05 if not (tmp_path / "stuck").exists() else 600)
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(LoadedModel, "logits", logits)
    monkeypatch.setattr("sap_core.cli.signals.PATIENCE", 0.3)
    out = tmp_path / "cut"

    def ready(said: str) -> bool:
        if recorded(out)(said):
            (tmp_path / "stuck").touch()
            time.sleep(0.3)
            return True
        return False

    words = [*CAPTURE, "--model", str(tiny_diffusion), "--out", str(out)]
    code, errors = signalled(words, ready, signal.SIGTERM)
    assert code == 143 and "sap capture --resume" in last_line(errors)
    run = sap.open_run(out)
    assert run.state == "cancelled" and run.trajectory.sizes["step"] >= 2
    (tmp_path / "stuck").unlink()
    assert sap.capture(resume=out).state == "finished"


def test_what_the_parent_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest().listening():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, signal.SIG_DFL)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
