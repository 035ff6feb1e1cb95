"""The README's own lines are run, so that it can't drift from the code."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith("sap ")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder in which the README is followed from top to bottom."""
    return tmp_path_factory.mktemp("desk")


def run(command: list[str], desk: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=desk, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.slow
def test_python_lines(desk: Path):
    done = run([sys.executable, "-c", "\n".join(blocks("python"))], desk)
    assert done.returncode == 0, done.stderr
    assert "('step', 'layer', 'head', 'position')" in done.stdout
    assert (desk / "stories-pruned" / "model.safetensors").is_file()


@pytest.mark.slow
def test_commands_in_order(desk: Path):
    """One test, because later lines use what earlier ones made."""
    assert len(commands()) >= 10
    for line in commands():
        words = shlex.split(line, comments=True)
        done = run([sys.executable, "-m", "sap_core.cli", *words[1:]], desk)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_make_targets_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for line in (line for block in blocks("sh") for line in block.splitlines() if line.startswith("make ")):
        assert line.split()[1] in targets


def test_every_link_and_picture_is_there():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), f"README points to {target}"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_knows_its_targets():
    done = subprocess.run(["make", "-n", "studio"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
