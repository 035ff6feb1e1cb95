"""Sinks in its states: no run, running, cancelled, finished, several, damaged, linked to."""

from __future__ import annotations

import numpy as np
import pytest
from page_text import words
from sample_runs import capture_run

from sap_core.runs.reading import open_run
from sap_core.runs.store import create_run
from sap_core.specs import AttentionMapSpec


def test_before_the_first_run_a_recorded_one_is_shown(page):
    at = page("sinks")
    assert not at.exception
    chosen = next(box for box in at.sidebar.selectbox if box.label == "Run in view")
    assert chosen.options[0].startswith("Demo: stories-diffusion")


def test_a_finished_run_shows_the_step_and_its_dominant_position(page, root):
    capture_run(root, "drifting", steps=12, positions=32)
    at = page("sinks", step="5")
    assert "Step **5**: position **14**" in words(at)  # round(5 * 31 / 11)
    assert at.metric[0].value == "1.000"  # a drifting sink changes at every step


def test_the_address_chooses_run_layer_head_and_rule(page, root):
    first = capture_run(root, "mixed", name="older")
    capture_run(root, "fixed", name="newer")
    at = page("sinks", run=first.name, layer="1", head="1", rule="rate", step="3")
    assert at.selectbox(key="choice_run").value == first.name
    assert at.selectbox(key="choice_layer").value == 1
    assert at.selectbox(key="choice_rule").value == "rate"
    assert "Step **3**: position **16**" in words(at)  # head 1 of "mixed" alternates between 0 and the middle


def test_another_head_follows_the_choice(page, root):
    capture_run(root, "mixed", steps=12, positions=32)
    at = page("sinks", step="11")
    at.selectbox(key="choice_head").select(2).run()
    assert not at.exception
    assert "position **31**" in words(at)  # head 2 drifts to the end


def test_a_cancelled_run_shows_the_steps_it_has(page, root):
    capture_run(root, steps=12, written=4, state="cancelled")
    assert "Step **3**" in words(page("sinks", step="99"))


def test_a_running_run_says_how_far_it_is(page, root):
    capture_run(root, steps=12, written=4, state="running")
    assert "4 of 12 steps so far" in words(page("sinks"))


def test_an_unknown_run_in_the_address_is_said_and_another_shown(page, root):
    capture_run(root, name="the only one")
    at = page("sinks", run="20260101-000000-capture-aaaaaa")
    assert "not among the capture runs" in words(at)
    assert "Step **0**" in words(at)


def test_a_truncated_run_is_an_error_line(page, root):
    path = capture_run(root)
    next(item for item in path.glob("trajectory/0.zarr/received/c/**/*") if item.is_file()).unlink()
    at = page("sinks")
    assert len(at.error) == 1 and "truncated" in at.error[0].value


def test_several_prompts_can_be_chosen(page, root):
    capture_run(root, samples=2)
    assert list(page("sinks", sample="1").selectbox(key="choice_sample").options) == ["1 of 2", "2 of 2"]


def test_an_autoregressive_run_is_drawn_too(page, root):
    capture_run(root, "fixed", objective="autoregressive", model="demo:stories-ar", steps=24)
    assert "Step **0**: position **0**" in words(page("sinks"))


def test_the_full_map_is_asked_for_by_layer_head_and_step(page, root, jobs):
    run = capture_run(root)
    assert "Choose a layer above" in words(page("sinks"))
    at = page("sinks", layer="1", head="2", step="3")
    at.button(key="compute_map").click().run()
    assert not at.exception
    assert jobs.submitted[0] == AttentionMapSpec(run=str(run), layer=1, head=2, step=3)


def test_a_map_that_was_computed_before_is_drawn_at_once(page, root):
    run = capture_run(root, positions=32)
    spec = AttentionMapSpec(run=str(run), layer=1, head=2, step=3)
    with create_run("attention_map", spec, root=root) as writer:
        np.save(writer.path / "map.npy", np.eye(32, dtype=np.float32))
    at = page("sinks", layer="1", head="2", step="3")
    assert not [button for button in at.button if button.key == "compute_map"]


def test_a_map_that_is_not_what_was_captured_is_said(page, root):
    run = capture_run(root, positions=32)
    spec = AttentionMapSpec(run=str(run), layer=1, head=2, step=3)
    with create_run("attention_map", spec, root=root) as writer:
        np.save(writer.path / "map.npy", np.eye(32, dtype=np.float32))
    assert "differ from what was captured" in words(page("sinks", layer="1", head="2", step="3"))


def test_a_map_equal_to_the_capture_is_said(page, root):
    run = capture_run(root, positions=32)
    received = open_run(run).trajectory["received"].values[3, 1, 2]
    spec = AttentionMapSpec(run=str(run), layer=1, head=2, step=3)
    with create_run("attention_map", spec, root=root) as writer:
        np.save(writer.path / "map.npy", np.tile(received, (32, 1)))
    assert "Identical to what was captured" in words(page("sinks", layer="1", head="2", step="3"))


ERROR = {"stride": 4, "checked_steps": 2, "displaced": 0.031, "largest": 0.0125, "dominant_agreement": 0.9}


@pytest.mark.slow
def test_an_estimate_says_so_and_how_far_it_is_off(page, root):
    run = capture_run(root, positions=32, told={"query_sampling": ERROR})
    spec = AttentionMapSpec(run=str(run), layer=1, head=2, step=3)
    with create_run("attention_map", spec, root=root) as writer:
        np.save(writer.path / "map.npy", np.eye(32, dtype=np.float32))
    for name, address in (("sinks", {"layer": "1", "head": "2", "step": "3"}), ("heads", {})):
        said = words(page(name, **address))
        assert "one query in 4. Where all queries were used too (2 steps), 3.1% of it was at a wrong position" in said
        assert "differ from what was captured" not in said, "an estimate is not the full map, and need not be"
    assert "one query in" not in words(page("sinks", run=str(capture_run(root, positions=32))))


def test_only_the_open_tab_is_drawn_and_it_is_in_the_address(page, root):
    capture_run(root)
    first = page("sinks")
    assert "Kinds of token" not in words(first)
    tables = page("sinks", tab="Which tokens")
    assert "Kinds of token" in words(tables)
    kinds = tables.dataframe[-1].value
    assert list(kinds["kind"]) == ["content", "punctuation", "whitespace", "special", "mask"]
    assert kinds["share of sinks"].sum() == pytest.approx(1) == kinds["share of positions"].sum()


def test_a_figure_is_taken_along_with_its_origin(page, root):
    run = capture_run(root)
    at = page("sinks", layer="1", head="2", axis="kind of token")
    at.button(key="take_figure").click().run()
    assert not at.exception
    assert "Run, settings and version are written into every file" in words(at)
    assert run.name in at.session_state["figure_runs"][0].id
