"""The guide can't drift: its links lead somewhere, its commands, options, pages and buttons are real ones."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest
import typer.main

from sap_core import cli
from sap_core.ui.widgets.layout import PAGES

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "guide.md").read_text()
SOURCES = "\n".join(
    path.read_text()
    for room in ("pages", "sap_core/ui")
    for path in (ROOT / room).rglob("*.*")
    if path.suffix in (".py", ".html")
)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, flags=re.DOTALL) for line in block.splitlines()]


def test_every_link_and_picture_is_there():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", GUIDE)
    assert len(targets) >= 4
    for target in targets:
        assert (ROOT / "docs" / target).is_file(), target


def test_every_page_has_its_section_in_the_order_of_the_navigation():
    titles = [title for pages in PAGES.values() for _, title, *_ in pages]
    headings = re.findall(r"^## (.+)$", GUIDE, flags=re.MULTILINE)
    assert headings[: len(titles)] == titles


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_understood_by_the_command_line(line):
    words = shlex.split(line)
    assert words.pop(0) == "sap"
    command = typer.main.get_command(cli.app)
    context = click.Context(command, info_name="sap")
    while hasattr(command, "resolve_command"):  # nothing is run: only read, with all options known
        name, command, words = command.resolve_command(context, words)
    command.make_context(name, words, parent=context)


def test_commands_cover_what_the_pages_do():
    assert {line.split()[1] for line in COMMANDS} >= {
        "capture",
        "sinks",
        "heads",
        "compare",
        "figure",
        "report",
        "prune",
    }


def test_every_bold_name_is_on_a_page():
    names = {" ".join(name.split()) for name in re.findall(r"\*\*([^*]+)\*\*", GUIDE)} - {"?"}
    assert len(names) > 8
    for name in names:
        assert name in SOURCES, name


def test_the_python_lines_are_python():
    for block in re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL):
        ast.parse(block)


def test_the_check_can_fail():
    with pytest.raises(cli.UsageError):
        test_every_command_is_understood_by_the_command_line("sap sinks runs/a --no-such-option 3")
