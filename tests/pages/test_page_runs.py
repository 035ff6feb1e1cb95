"""Runs: empty, listed, searched, opened, renamed, deleted."""

from __future__ import annotations

from page_text import words
from sample_runs import capture_run, prune_run

from sap_core.runs.clean import list_leftovers
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


def test_an_unfinished_capture_says_how_far_it_came_and_goes_on(page, root, jobs):
    run = capture_run(root, written=3, state="cancelled", name="two")
    at = page("runs", run=run.name)
    assert "This capture was not finished: 3 of" in words(at) and "Open on Sinks" in words(at)
    next(button for button in at.button if button.label == "Go on with it").click().run()
    assert jobs.resumed == [str(run)] and jobs.submitted[0].kind == "capture"
    whole = page("runs", run=capture_run(root, name="whole").name)
    assert "Go on with it" not in [button.label for button in whole.button]


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


def test_what_killed_work_left_is_listed_and_removed(page, root, monkeypatch):
    monkeypatch.setattr("sap_core.storage.leftovers.recorded", list)  # only this root's, not the user's own
    kept = capture_run(root, name="kept")
    half = root / ".pruned.sap-part"
    half.mkdir()
    (half / "model.safetensors").write_bytes(bytes(2048))
    (root / ".upload-1.zip.0123abcd.sap-part").write_bytes(bytes(1024))
    streamed = root / ".pruned.streamed"
    streamed.mkdir()
    (streamed / "job.json").write_text("{}")
    assert len(list_leftovers()) == 3
    at = page("runs")
    (panel,) = [one for one in at.expander if one.label.startswith("Left behind by interrupted work")]
    table = panel.dataframe[0].value
    assert set(table["path"]) == {str(half), str(root / ".upload-1.zip.0123abcd.sap-part"), str(streamed)}
    assert table["what"].str.contains("streamed").sum() == 1 and all(size[0] != "0" for size in table["size"])
    at.button(key="clean_leftovers").click().run()
    assert not at.exception and not half.exists() and kept.exists() and streamed.exists()  # it could be continued
    (panel,) = [one for one in at.expander if one.label.startswith("Left behind")]
    panel.checkbox[0].check().run()
    at.button(key="clean_leftovers").click().run()
    assert not streamed.exists() and kept.exists()
    assert not [one for one in at.expander if one.label.startswith("Left behind")]
