"""The player in a notebook: whole in itself, with the studio's script and the run's own text escaped."""

from __future__ import annotations

import json

import pytest
from sample_runs import capture_run, prune_run

import sap_core as sap
from sap_core.errors import InvalidInput, UnknownOption


def test_a_run_shows_itself_and_its_player_needs_nothing_else(tmp_path):
    run = sap.open_run(capture_run(tmp_path, name="<b>bold</b>"))
    page = sap.replay(run, layer=1, step=3).page
    data = json.loads(page.split("player({ data: ")[1].split(", parentElement:")[0])
    assert (data["start"], data["label"], data["quantity"]) == (3, "layer 1, mean over heads", "sink_rate")
    assert "export default" not in page and "http" not in page.replace("http://www.w3.org", "")
    shown = run._repr_html_()
    assert "&lt;b&gt;bold" in shown and "<b>bold" not in shown and "srcdoc=" in shown and "12 steps" in shown
    assert sap.replay(run).save(tmp_path / "player.html").read_text().startswith("<!doctype html>")
    assert "srcdoc" not in sap.open_run(prune_run(tmp_path))._repr_html_()


def test_what_the_run_does_not_have_is_an_error(tmp_path):
    run = sap.open_run(capture_run(tmp_path))
    with pytest.raises(InvalidInput, match="steps 0 to 11"):
        sap.replay(run, step=12)
    with pytest.raises(UnknownOption):
        sap.replay(run, quantity="rate")
