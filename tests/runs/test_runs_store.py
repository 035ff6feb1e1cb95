"""The life of a run folder: written step by step, closed by its manifest, opened, listed, edited, removed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sap_core.errors import (
    Cancelled,
    InvalidInput,
    OperationFailed,
    RunProblem,
)
from sap_core.runs import files
from sap_core.runs.listing import delete_run, list_runs
from sap_core.runs.meta import update_run
from sap_core.runs.paths import runs_root
from sap_core.runs.reading import open_run
from sap_core.runs.store import create_run
from sap_core.specs import CaptureSpec, PruneSpec, parse_spec

SPEC = CaptureSpec.build(model="demo:stories-diffusion", prompts=("Once upon a time",), steps=4)


def finished(root, **fields):
    with create_run("capture", SPEC, root=root, **fields) as run:
        run.write_json("extra/table.json", {"rows": [1, 2, 3]})
        return run.finish({"text": "Once upon a time there was a fox."})


def test_a_finished_run_opens_with_all_it_was_given(tmp_path):
    made = finished(tmp_path)
    run = open_run(made.path)
    assert (run.id, run.kind, run.state) == (made.path.name, "capture", "finished")
    assert made.path.parent == tmp_path and run.text == "Once upon a time there was a fox."
    assert parse_spec(run.spec) == SPEC
    assert run.read_json("extra/table.json") == {"rows": [1, 2, 3]} and run.read_json("none.json") is None
    assert run.created.startswith("20") and run.seconds >= 0
    assert run.manifest["versions"]["numpy"] == np.__version__
    assert set(run.manifest["files"]) == {"spec.json", "result.json", "extra/table.json"}
    assert not (run.path / "writer.json").exists()
    assert open_run(run.id, root=tmp_path).path == run.path


def test_spec_is_first_and_manifest_last(tmp_path):
    with create_run("capture", SPEC, out=tmp_path / "mine") as run:
        assert json.loads((run.path / "spec.json").read_text())["prompts"] == ["Once upon a time"]
        with pytest.raises(RunProblem, match=r"unfinished.*still being written"):
            open_run(run.path)
        live = open_run(run.path, unfinished=True)
        assert live.state == "running" and live.result == {} and live.created
        run.finish({})
    newest = max((path.stat().st_mtime_ns, path.name) for path in run.path.iterdir())[1]
    assert newest == "manifest.json"
    with pytest.raises(OperationFailed, match="closed already"):
        run.finish({})


def test_an_interrupted_run_is_unfinished_and_says_so(tmp_path):
    path = create_run("capture", SPEC, out=tmp_path / "dead").path  # and nothing holds its writer any more
    assert (path / "writer.json").exists()
    with pytest.raises(RunProblem, match=r"interrupted; go on with it \(sap capture --resume"):
        open_run(path)
    assert open_run(path, unfinished=True).state == "unfinished"


@pytest.mark.parametrize("change", [1e9, -1e9])
def test_a_set_clock_does_not_end_a_writer(tmp_path, monkeypatch, change):
    import psutil

    with create_run("capture", SPEC, out=tmp_path / "run") as run:
        real, boot = time.time, psutil.boot_time
        monkeypatch.setattr(time, "time", lambda: real() + change)
        monkeypatch.setattr(psutil, "boot_time", lambda: boot() + change)
        os.utime(run.path / "writer.json", (real() - change, real() - change))
        assert open_run(run.path, unfinished=True).state == "running"
        with pytest.raises(RunProblem, match="still being written"):
            delete_run(run.path)
        (run.path / "writer.json").write_text("damaged")
        with pytest.raises(RunProblem, match="still being written"):
            delete_run(run.path)
        run.finish({})


def test_a_killed_writer_is_known_at_once_even_where_its_id_lives_on(tmp_path):
    code = (
        "import os, signal, sys; from sap_core.runs.store import create_run; from sap_core.specs import CaptureSpec; "
        "r = create_run('capture', CaptureSpec.build(model='m'), out=sys.argv[1]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], cwd=Path(__file__).parents[2])
    document = tmp_path / "run" / "writer.json"
    document.write_text(json.dumps(json.loads(document.read_text()) | {"pid": os.getpid()}))
    assert open_run(tmp_path / "run", unfinished=True).state == "unfinished"
    delete_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("error", "state"),
    [(Cancelled("stop"), "cancelled"), (KeyboardInterrupt(), "cancelled"), (ValueError("bad\nthing"), "failed")],
)
def test_an_exception_closes_the_run(tmp_path, error, state):
    with pytest.raises(type(error)), create_run("capture", SPEC, out=tmp_path / "run") as run:
        run.write_json("part.json", [1])
        raise error
    opened = open_run(tmp_path / "run")
    assert opened.state == state and opened.read_json("part.json") == [1]
    assert opened.result == ({"error": "ValueError: bad thing"} if state == "failed" else {})


def test_invalid_input_leaves_no_folder(tmp_path):
    with pytest.raises(InvalidInput), create_run("capture", SPEC, out=tmp_path / "run"):
        raise InvalidInput("no")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_harms_nothing(tmp_path, monkeypatch):
    keep = finished(tmp_path)
    real = Path.write_bytes

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = create_run("capture", SPEC, out=tmp_path / "full")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OperationFailed, match="No space left on the disk") as caught:
        run.finish({"text": "x"})
    assert "\n" not in str(caught.value)
    with pytest.raises(OperationFailed, match="No space left"):
        create_run("capture", SPEC, out=tmp_path / "second")
    monkeypatch.setattr(Path, "write_bytes", real)
    assert not (tmp_path / "second").exists()
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["spec.json", "writer.json"]
    open_run(keep.path).verify()


def test_a_full_disk_inside_the_work_closes_the_run_as_failed(tmp_path):
    with pytest.raises(OperationFailed, match="No space left"), create_run("capture", SPEC, out=tmp_path / "run"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert open_run(tmp_path / "run").state == "failed"


def test_a_run_that_could_not_be_closed_is_unfinished_and_can_be_deleted(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with (
        pytest.raises(OperationFailed, match="No space left"),
        create_run("capture", SPEC, out=tmp_path / "run") as run,
    ):
        monkeypatch.setattr(Path, "write_bytes", full)
        run.finish({})
    (summary,) = list_runs(tmp_path)
    assert summary.state == "unfinished" and summary.created.startswith("20")
    delete_run(tmp_path / "run")


def test_truncation_damage_and_newer_versions_are_told_apart(tmp_path):
    path = finished(tmp_path).path
    table = path / "extra" / "table.json"
    whole = table.read_bytes()

    table.write_bytes(whole[:-1])
    with pytest.raises(RunProblem, match=r"truncated: extra/table.json has \d+ bytes, expected \d+"):
        open_run(path)
    table.unlink()
    with pytest.raises(RunProblem, match=r"truncated: extra/table.json is missing"):
        open_run(path)
    table.write_bytes(whole.replace(b"1", b"7"))
    opened = open_run(path)  # same size: found by the full check only
    with pytest.raises(RunProblem, match=r"damaged: extra/table.json has changed"):
        opened.verify()
    table.write_bytes(whole)
    opened.verify()

    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"schema": 99}))
    with pytest.raises(RunProblem, match="newer version"):
        open_run(path)
    (path / "manifest.json").write_text(json.dumps(manifest)[:-20])
    with pytest.raises(RunProblem, match=r"manifest.json can't be read"):
        open_run(path)
    assert [run.state for run in list_runs(tmp_path)] == ["damaged"]


def test_missing_runs_and_foreign_folders(tmp_path):
    made = finished(tmp_path)
    with pytest.raises(RunProblem, match=f"does not exist. Did you mean {made.id}"):
        open_run(made.id[:-1], root=tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(RunProblem, match="not a run folder"):
        open_run(tmp_path / "other")
    with pytest.raises(RunProblem, match="not a run folder"):
        delete_run(tmp_path / "other")
    assert (tmp_path / "other").is_dir()


def test_output_folder_that_exists_or_can_not_be_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("x")
    for out, message in [("there", "exists already"), ("file", "exists already"), ("file/in", "can't be written")]:
        with pytest.raises(InvalidInput, match=message):
            create_run("capture", SPEC, out=tmp_path / out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


def test_many_writers_at_once_get_folders_of_their_own(tmp_path):
    made, errors = [], []

    def work():
        try:
            made.append(finished(tmp_path).id)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not errors and len(set(made)) == 8 == len(list_runs(tmp_path))


def test_history_is_newest_first_and_filters_by_kind(tmp_path, monkeypatch):
    first = finished(tmp_path)
    manifest = json.loads((first.path / "manifest.json").read_text())
    (first.path / "manifest.json").write_text(json.dumps(manifest | {"created": "2020-01-01T00:00:00+00:00"}))
    with create_run("prune", PruneSpec.build(model="m", method="wanda"), root=tmp_path) as second:
        second.finish({})
    (tmp_path / ".jobs").mkdir()
    runs = list_runs(tmp_path)
    assert [run.id for run in runs] == [second.id, first.id]
    assert runs[0].name == "m: wanda 50% unstructured" and runs[1].name == "demo:stories-diffusion: Once upon a time"
    assert runs[1].bytes == sum(size for size, _ in manifest["files"].values())
    assert [run.id for run in list_runs(tmp_path, kind="prune")] == [second.id]
    json.dumps([run.to_dict() for run in runs])
    assert list_runs(tmp_path / "none") == []
    monkeypatch.setenv("SAP_RUNS", str(tmp_path))
    assert runs_root() == tmp_path and len(list_runs()) == 2


def test_name_tags_and_notes_change_and_the_run_does_not(tmp_path):
    made = finished(tmp_path)
    update_run(made.path, name="  my   run ", tags=["b", "a", " ", "b"])
    update_run(made.path, notes="seen twice\n")
    run = open_run(made.path)
    run.verify()
    assert (run.name, run.meta) == ("my run", {"name": "my run", "tags": ["a", "b"], "notes": "seen twice"})
    assert list_runs(tmp_path)[0].tags == ("a", "b")
    with pytest.raises(InvalidInput, match="characters"):
        update_run(made.path, name="x" * 201)


def test_delete_removes_one_run_but_not_one_being_written(tmp_path):
    keep, gone = finished(tmp_path), finished(tmp_path)
    delete_run(gone.path)
    assert [path.name for path in tmp_path.iterdir()] == [keep.id]
    with create_run("capture", SPEC, root=tmp_path) as live:
        with pytest.raises(RunProblem, match="still being written"):
            delete_run(live.path)
        live.finish({})
    delete_run(live.id, root=tmp_path)
    with pytest.raises(RunProblem, match="does not exist"):
        delete_run(live.path)


def test_json_is_plain_whatever_comes(tmp_path):
    files.write_json(
        tmp_path / "x.json",
        {"a": np.float32(0.5), "n": float("nan"), "i": np.int64(3), "m": np.array([[1.0, np.inf]]), 2: (tmp_path,)},
    )
    document = json.loads((tmp_path / "x.json").read_text())
    assert document == {"a": 0.5, "n": None, "i": 3, "m": [[1.0, None]], "2": [str(tmp_path)]}
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "y.json", {"a": object()})
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_run_of_an_impossible_name_and_a_nested_document(tmp_path):
    from sap_core.errors import InvalidInput
    from sap_core.runs.files import read_json
    from sap_core.runs.paths import resolve_run

    with pytest.raises(InvalidInput, match="longer than any file name"):
        resolve_run("x" * 5000)
    (tmp_path / "nested.json").write_text("[" * 99_999)
    assert read_json(tmp_path / "nested.json") is None
