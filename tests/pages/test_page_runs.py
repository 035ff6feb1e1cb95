"""Runs: empty, listed, searched, opened, renamed, deleted."""

from __future__ import annotations

from page_text import words
from sample_runs import capture_run, prune_run

from sap_core.runs.listing import describe_run
from sap_core.runs.meta import update_run


def test_without_runs_it_says_what_to_do(page):
    assert "Nothing has been run yet" in words(page("runs"))


def test_every_state_is_listed(page, root):
    capture_run(root, name="one")
    capture_run(root, written=3, state="cancelled", name="two")
    capture_run(root, written=3, state="running", name="three")
    damaged = prune_run(root)
    (damaged / "manifest.json").write_text("{")
    table = page("runs").dataframe[0].value
    assert set(table["state"]) == {"finished", "cancelled", "running", "damaged"}


def test_search_finds_by_name_and_model(page, root):
    capture_run(root, name="cat story")
    capture_run(root, name="dog story", model="demo:stories-ar")
    at = page("runs")
    at.text_input(key="q").set_value("stories-ar dog").run()
    assert list(at.dataframe[0].value["name"]) == ["dog story"]
    at.text_input(key="q").set_value("bird").run()
    assert "No run matches" in words(at)


def test_a_run_in_the_address_is_opened_and_can_be_renamed(page, root):
    run = capture_run(root, name="old name")
    at = page("runs", run=run.name)
    assert "Open on Sinks" in words(at)
    next(field for field in at.text_input if field.label == "Name").set_value("new name")
    next(field for field in at.text_input if field.label == "Tags").set_value("a, b")
    next(button for button in at.button if button.label == "Save").click().run()
    assert (describe_run(run).name, describe_run(run).tags) == ("new name", ("a", "b"))


def test_deleting_asks_first_and_then_removes(page, root):
    run = capture_run(root)
    at = page("runs", run=run.name)
    assert "for good?" in words(at)
    at.button(key=f"delete_{run.name}").click().run()
    assert not run.exists()
    assert "Nothing has been run yet" in words(at)


def test_a_run_that_is_being_written_is_not_deleted(page, root):
    run = capture_run(root, written=3, state="running")
    at = page("runs", run=run.name)
    at.button(key=f"delete_{run.name}").click().run()
    assert run.exists() and "still being written" in at.error[0].value


def test_a_failed_run_says_why(page, root):
    run = capture_run(root, state="failed")
    assert "failed" in words(page("runs", run=run.name))


def test_runs_are_sorted_and_filtered_by_tag(page, root):
    for name, tag in (("b", "paper"), ("a", "draft"), ("c", "paper")):
        update_run(capture_run(root, name=name), tags=[tag])
    at = page("runs", sort="name")
    assert list(at.dataframe[0].value["name"]) == ["a", "b", "c"]
    at.button_group(key="tags_chosen").set_value(["paper"]).run()
    assert list(at.dataframe[0].value["name"]) == ["b", "c"]


def test_a_finished_run_opens_without_its_model(page, root):
    run = capture_run(root, model="nobody/has-this")
    for name in ("sinks", "heads"):
        assert not page(name, run=run.name).error
