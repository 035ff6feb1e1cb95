"""Runs at an S3 address: a server on loopback, a real capture, read while it is written, listed, moved, deleted."""

from __future__ import annotations

import json
import logging
import socket

import numpy as np
import pytest

import sap_core as sap
from sap_core.cli import main
from sap_core.errors import InvalidInput, OperationFailed, RunProblem
from sap_core.jobs.layout import JobFolder
from sap_core.runs.archive import export_archive, import_archive
from sap_core.runs.listing import delete_run, list_runs
from sap_core.runs.meta import update_run
from sap_core.runs.publish import made_here
from sap_core.runs.reading import open_run
from sap_core.runs.store import create_run
from sap_core.specs import CaptureSpec, SweepSpec
from sap_core.storage import is_remote, storage_path
from sap_core.trajectory.store import TrajectoryWriter

pytestmark = pytest.mark.slow

BUCKET = "s3://sap-runs"
SPEC = CaptureSpec.build(model="m", prompts=("once",))


@pytest.fixture(scope="module")
def server():
    """An S3 server on a free port of this machine, ended with the module; AWS's own variables lead to it."""
    moto = pytest.importorskip("moto.server", reason="moto[s3] is not installed: pip install 'sap-studio[dev]'")
    for name in ("werkzeug", "botocore", "aiobotocore", "s3fs"):
        logging.getLogger(name).setLevel(logging.ERROR)
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        storage_path(BUCKET).fs.mkdir(BUCKET)
        yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(scope="module")
def captured(server, tiny_diffusion):
    """A capture that streamed to S3, and what could be seen of it from outside after two steps."""
    seen = {}

    def watch(progress):
        if progress.stage == "denoise" and progress.done == 2:
            run = open_run(f"{BUCKET}/runs/first", unfinished=True)
            seen.update(state=run.state, steps=run.trajectory.sizes["step"], value=run.trajectory["received"].values)
            seen["listed"] = [(found.id, found.state) for found in list_runs(f"{BUCKET}/runs")]
            with pytest.raises(RunProblem, match="still being written"):
                open_run(f"{BUCKET}/runs/first")
            with pytest.raises(RunProblem, match="still being written"):
                delete_run(f"{BUCKET}/runs/first")

    run = sap.capture(
        str(tiny_diffusion),
        "the fox",
        length=12,
        steps=3,
        precision="uint8",
        out=f"{BUCKET}/runs/first",
        progress=watch,
    )
    return run, seen


def test_a_capture_streams_to_s3_and_is_readable_meanwhile(captured):
    run, seen = captured
    assert seen["state"] == "running" and seen["listed"] == [("first", "running")]
    assert 1 <= seen["steps"] <= 2 and np.allclose(seen["value"].sum(-1), 1, atol=0.03)
    opened = open_run(f"{BUCKET}/runs/first")
    assert opened.state == "finished" and opened.text == run.text and str(opened.path) == f"{BUCKET}/runs/first"
    assert opened.trajectory.sizes["step"] == 3 and opened.trajectory.attrs["storage"]["precision"] == "uint8"
    opened.verify()
    names = {str(path).removeprefix(str(opened.path)) for path in opened.path.iterdir()}
    assert names == {"/spec.json", "/result.json", "/manifest.json", "/trajectory"}, "no writer, no probe left"


def test_verbs_read_it_from_there(captured, monkeypatch, capsys):
    table = sap.rank_heads(captured[0])
    assert table.equals(sap.rank_heads(open_run("first", root=f"{BUCKET}/runs")))
    monkeypatch.setenv("SAP_RUNS", f"{BUCKET}/runs")
    assert main(["runs", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["id"] == "first" and listed["path"] == f"{BUCKET}/runs/first" and listed["bytes"] > 1000
    assert main(["heads", "first", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) and main(["sinks", f"{BUCKET}/runs/first", "--json"]) == 0


def test_notes_archive_and_back(captured, tmp_path):
    update_run(captured[0].path, name="kept", tags=["a"])
    archive = export_archive(captured[0].path, tmp_path / "run.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["run.zip"], "the downloaded copy is gone"
    here = import_archive(archive, root=tmp_path / "runs")
    assert here.name == "kept" and not is_remote(here.path)
    there = import_archive(archive, root=f"{BUCKET}/imported")
    again = import_archive(archive, root=f"{BUCKET}/imported")
    assert (there.id, again.id) == ("first", "first-2")
    there.verify()
    np.testing.assert_array_equal(there.trajectory["received"].values, here.trajectory["received"].values)
    with pytest.raises(InvalidInput, match="An archive needs a folder on this machine"):
        export_archive(here.path, f"{BUCKET}/run.zip")
    delete_run(again.path)
    assert [run.id for run in list_runs(f"{BUCKET}/imported")] == ["first"]
    assert not storage_path(again.path).exists()


def test_manifest_last_tells_finished_from_unfinished(server, monkeypatch):
    place = f"{BUCKET}/states/one"
    run = create_run("capture", SPEC, out=place)
    with pytest.raises(InvalidInput, match="exists already"):
        create_run("capture", SPEC, out=place)
    with TrajectoryWriter(run.path / "trajectory" / "0.zarr", steps=2, layers=1, heads=1, positions=4) as writer:
        writer.append(0, received=np.full((1, 1, 4), 0.25, np.float32))
    document = run.path / "writer.json"
    told = json.loads(document.read_text())
    document.write_text(json.dumps(told | {"host": "another"}))
    assert open_run(place, unfinished=True).state == "running", "another machine wrote a moment ago"
    run._lock.release()
    monkeypatch.setattr("sap_core.runs.writers.ALIVE_SECONDS", 0)
    dead = open_run(place, unfinished=True)
    assert dead.state == "unfinished" and dead.trajectory.sizes["step"] == 1
    run.finish({"text": "x"})
    assert open_run(place).state == "finished"
    (run.path / "trajectory" / "0.zarr" / "received" / "c" / "0" / "0" / "0" / "0").unlink()
    with pytest.raises(RunProblem, match="truncated"):
        open_run(place)


def test_an_interrupted_deletion_leaves_nothing_that_looks_finished(server, monkeypatch):
    with create_run("capture", SPEC, out=f"{BUCKET}/deleted/one") as run:
        run.write_json("more.json", [1])
        run.finish({})
    removed = []
    filesystem = run.path.fs
    real = filesystem.rm

    def once(paths, **options):
        removed.append(paths)
        if len(removed) == 2:
            raise OSError("the network went away")
        return real(paths, **options)

    monkeypatch.setattr(filesystem, "rm", once)
    with pytest.raises(OperationFailed, match="network went away"):
        delete_run(run.path)
    (left,) = list_runs(f"{BUCKET}/deleted")
    assert left.state == "unfinished"
    delete_run(run.path)
    assert list_runs(f"{BUCKET}/deleted") == []


def test_work_that_needs_a_folder_is_done_here_and_put_there(server):
    target = storage_path(f"{BUCKET}/made/one")
    with pytest.raises(ValueError), made_here(target) as folder, create_run("capture", SPEC, out=folder):
        raise ValueError("stopped")
    assert not folder.exists() and open_run(target).state == "failed"
    from sap_core.jobs.client import JobClient
    from sap_core.sweeps.folder import SweepFolder

    spec = SweepSpec.build(model="m", methods=("magnitude",))
    with pytest.raises(InvalidInput, match=r"kind sweep.* needs a folder on this machine"):
        JobClient(f"{BUCKET}/runs").submit(spec)
    with pytest.raises(InvalidInput, match="needs a folder on this machine"):
        SweepFolder(f"{BUCKET}/sweep")


def test_the_queue_of_a_remote_store_is_on_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = JobFolder(f"{BUCKET}/runs"), JobFolder(f"{BUCKET}/other")
    assert first.path.parent == second.path.parent == tmp_path / "sap-studio" / "jobs" and first.path != second.path
    assert JobFolder(tmp_path).path == tmp_path / ".jobs"


def test_what_can_not_be_reached_is_one_line(server, monkeypatch, capsys):
    nowhere = "s3://no-such-bucket/run"
    for call in (lambda: create_run("capture", SPEC, out=nowhere), lambda: open_run("s3://no-such-bucket/run")):
        with pytest.raises((OperationFailed, RunProblem), match=r"bucket|does not exist") as caught:
            call()
        assert "\n" not in str(caught.value)
    with pytest.raises(InvalidInput, match="no file system that fsspec knows"):
        open_run("nonsense://x/y")
    with pytest.raises(InvalidInput, match="pip install gcsfs"):
        open_run("gs://bucket/run")
    assert main(["capture", "--model", "m", "--out", nowhere]) != 0
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_access_denied_and_no_server_are_told_apart(server, monkeypatch):
    def denied(*_, **__):
        raise PermissionError("Access Denied")

    place = storage_path(f"{BUCKET}/denied")
    monkeypatch.setattr(place.fs, "find", denied)
    with create_run("capture", SPEC, out=f"{BUCKET}/denied/one") as run:
        with pytest.raises(OperationFailed, match=r"access denied .*check the credentials"):
            run.finish({})
        run.closed = True
    monkeypatch.undo()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(place.fs).clear_instance_cache()
    with pytest.raises(OperationFailed, match="can't be reached"):
        list_runs("s3://elsewhere/runs")
    type(place.fs).clear_instance_cache()
