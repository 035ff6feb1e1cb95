"""A twentieth of the faults that `make faults` tries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "waitid"), reason="the faults are tried in forked processes")
def test_a_twentieth_of_the_faults() -> None:
    command = [sys.executable, str(ROOT / "tests" / "faults" / "run.py"), "--part", "20", "--kills", "10", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    tried = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(tried) >= 80, done.stderr[-2000:]
    assert {case["name"]: case["wrong"] for case in tried if case["wrong"]} == {}


def test_the_judge_can_find_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing a case is judged by is seen where it is there."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from fork_runner import RAN, Case, judge

    def case(work) -> list[str]:
        return judge(Case("x", "x", lambda folder: work), tmp_path)

    def say(text: str, code: int) -> int:
        print(text, file=sys.stderr)
        return code

    assert case(lambda: say("sap: bad", 2)) == []
    assert "exit 0" in case(lambda: 0)[0]
    assert "2 lines" in case(lambda: say("sap: a\nsap: b", 2))[0]
    assert "foreign exception" in case(lambda: say("sap: Unexpected: x", 2))[0]
    assert "code of the file ran" in case(lambda: Path(RAN).touch() or say("sap: bad", 2))[0]
    assert "left behind" in case(lambda: Path("rest").touch() or say("sap: bad", 2))[0]
    assert any("of computing" in what for what in case(lambda: _compute(2.2) or say("sap: bad", 2)))
    monkeypatch.setattr("fork_runner.AGAIN", 1)
    assert any("seconds" in what for what in case(lambda: time.sleep(2.2) or say("sap: bad", 2)))
    assert any(" MB" in what for what in case(lambda: len(bytearray(1 << 30)) > 0 and say("sap: bad", 2)))
    assert any("exit" in what for what in case(lambda: 1 / 0))


def _compute(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
