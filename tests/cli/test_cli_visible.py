"""Nothing that a file, a run or a library says controls the terminal."""

from __future__ import annotations

import json
import re
import sys
import warnings

import pytest
from chosen import mostly_slow
from hypothesis import given
from hypothesis import strategies as st
from sample_runs import capture_run

from sap_core import cli
from sap_core.cli import main
from sap_core.cli.console import Bar, VisibleStream
from sap_core.progress import Progress
from sap_core.runs.files import write_json
from sap_core.visible_text import visible, visible_json

EVIL = "\x1b]8;;http://evil\x07link\x1b[31mred\r\x9b2J\u202eback\u2066\x08\x7f"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A run whose name, tags, notes and model are full of escape sequences."""
    monkeypatch.setenv("SAP_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    run = capture_run(tmp_path / "runs", name="x", model=EVIL)
    write_json(run / "meta.json", {"name": EVIL, "tags": [EVIL], "notes": EVIL})
    return run


@pytest.mark.parametrize(
    "words",
    [["runs", "list"], ["runs", "show", "RUN"], ["runs", "check", "RUN"], ["runs", "edit", "RUN", "--notes", EVIL],
     ["sinks", "RUN"], ["heads", "RUN"], ["models", EVIL], ["runs", "show", EVIL], ["runs", "import", EVIL], [EVIL],
     ["capture", "--model", EVIL, "--sampler", EVIL], ["figure", "RUN", "--out", EVIL]],
)  # fmt: skip
@pytest.mark.parametrize("options", mostly_slow([[], ["--json"]], 1))
def test_no_command_prints_control_characters(hostile, capsys, words, options):
    main([hostile.name if word == "RUN" else word for word in words] + options)
    said = capsys.readouterr()
    assert CONTROL.findall(said.out + said.err) == [] and said.out + said.err


def test_json_says_what_is_there(hostile, capsys):
    assert main(["runs", "show", hostile.name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == EVIL


@pytest.mark.slow
@given(st.text())
def test_text_without_them_is_left_alone_and_json_says_the_same(text):
    assert CONTROL.search(visible(text)) is None and visible(visible(text)) == visible(text)
    if text.isprintable() and text.isascii():
        assert visible(text) == text
    assert json.loads(visible_json(json.dumps(text, ensure_ascii=False))) == text


def test_libraries_and_warnings_go_through_it_too(capsys, monkeypatch):
    def command(*_, **__):
        warnings.warn(EVIL, stacklevel=1)
        print(EVIL)
        print(EVIL, file=sys.stderr)
        sys.stderr.writelines([EVIL])

    monkeypatch.setattr(cli, "app", command)
    main([])
    said = capsys.readouterr()
    assert CONTROL.findall(said.out + said.err) == [] and said.err.count("link") == 3


def test_only_the_bar_draws_over_its_line(capsys, monkeypatch):
    stream = VisibleStream(sys.stderr)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Bar("x", stream).show(Progress("a", 1, 2, EVIL))
    said = capsys.readouterr().err
    assert said.startswith("\r\x1b[K") and CONTROL.findall(said[4:]) == [] and "link" in said
