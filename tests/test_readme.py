"""The README's own lines are run, so that it can't drift from the code."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from sap_core import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith("sap ")]


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, in which the README is followed from top to bottom."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_python_lines(desk: Path, capsys):
    exec(compile("\n".join(blocks("python")), "README.md", "exec"), {"__name__": "__main__"})
    assert "('step', 'layer', 'head', 'position')" in capsys.readouterr().out
    assert (desk / "stories-pruned" / "model.safetensors").is_file()


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_commands_in_order(capsys):
    """One test, because later lines use what earlier ones made. Each goes through the function that ``sap`` calls; in a
    process of its own it would import torch again."""
    assert len(commands()) >= 10
    for line in commands():
        status = cli.main(shlex.split(line, comments=True)[1:])
        assert status == 0, f"{line}\n{capsys.readouterr().err}"


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
