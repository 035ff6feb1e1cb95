"""The documentation is run: Python of the how-tos, commands of every page; the site is built without a warning."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import typer.main

from sap_core import cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.name != "guide.md")  # which tests/test_guide.py reads
RUNNABLE = [DOCS / "index.md", *sorted((DOCS / "how-to").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def commands(page: Path) -> list[str]:
    text = "".join(blocks(page, "sh")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.startswith("sap ")]


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page, "python"))
    assert "print" in code or "transformers" in code
    exec(compile(code, str(page), "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


@pytest.mark.parametrize(("page", "line"), [(page.stem, line) for page in PAGES for line in commands(page)])
def test_every_command_is_understood(page, line):
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(cli.app)
    context = typer.Context(command, info_name="sap")
    while hasattr(command, "resolve_command"):  # nothing is run: only read, with all options known
        name, command, words = command.resolve_command(context, words)
    command.make_context(name, words, parent=context)


def test_commands_are_found_in_the_pages():
    assert len([line for page in PAGES for line in commands(page)]) > 4


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="MkDocs is not installed: make docs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    api = (tmp_path / "site" / "reference" / "api.html").read_text()
    for name in ("SinkAwarePruner", "record_attention", "analyze_attention_dynamics"):
        assert name in api
    assert "noised_sparsegpt" in (tmp_path / "site" / "reference" / "tables.html").read_text()
    assert "--sparsity" in (tmp_path / "site" / "reference" / "cli.html").read_text()
    assert "http" not in re.sub(r"<a .*?>", "", (tmp_path / "site" / "index.html").read_text().split("</head>")[0])
