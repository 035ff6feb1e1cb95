"""Heads: the ranking, the head in the address, moved weights."""

from __future__ import annotations

from page_text import words
from sample_runs import capture_run


def test_before_the_first_run_a_recorded_one_is_shown(page):
    at = page("heads")
    assert not at.exception
    chosen = next(box for box in at.sidebar.selectbox if box.label == "Run in view")
    assert chosen.options[0].startswith("Demo: stories-diffusion")


def test_the_most_unstable_head_is_opened_first(page, root):
    capture_run(root, "mixed")
    at = page("heads")
    table = at.dataframe[0].value
    assert list(table["rank"]) == list(range(1, 13))
    assert f"Layer {table['layer'].iloc[0]}, head {table['head'].iloc[0]}" in words(at)
    assert table["head"].iloc[0] == 2  # the drifting one


def test_the_address_opens_a_head(page, root):
    capture_run(root, "mixed")
    at = page("heads", layer="2", head="0")
    assert "Layer 2, head 0" in words(at)
    assert "Instability **0.000**" in words(at)  # a fixed sink


def test_moved_weights_change_the_score(page, root):
    capture_run(root, "mixed")
    at = page("heads", layer="0", head="1")
    for name in ("switch_rate", "persistence", "autocorrelation", "overlap"):
        at.slider(key=f"w_{name}").set_value(0.0)
    at.run()
    assert not at.exception
    assert "weights={'switch_rate': 0.0" in words(at)
    row = at.dataframe[0].value.query("layer == 0 and head == 1").iloc[0]
    assert row["instability"] == row["deviation"]


def test_all_weights_zero_is_said(page, root):
    capture_run(root, "mixed")
    at = page("heads")
    for slider in at.slider:
        slider.set_value(0.0)
    at.run()
    assert "All weights are 0" in words(at)


def test_how_a_sink_moves_is_drawn_when_it_is_asked_for(page, root):
    capture_run(root, "mixed")
    at = page("heads", layer="0", head="2")
    closed = words(at)
    at.session_state["moves"] = True
    at.run()
    assert "Which positions dominate" not in closed
    assert "Which positions dominate" in words(at) and not at.exception
