"""One bad document harms its own run only: it is listed, says why, and can be deleted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sap_core.cli import main
from sap_core.errors import RunProblem, SapError
from sap_core.runs.listing import delete_run, describe_run, list_runs
from sap_core.runs.meta import update_run
from sap_core.runs.reading import open_run
from sap_core.runs.store import create_run
from sap_core.specs import CaptureSpec, ExportSpec, PruneSpec, PushSpec, SweepSpec

SPEC = CaptureSpec.build(model="m", prompts=("once",))
DEEP = "[" * 100_000 + "]" * 100_000
BYTES = [b"", b"\xff\xfe\x00", b"null", b"[]", b"7", b'"text"', b"{", DEEP.encode(), b'{"a": 1e999999}', b"\0" * 64]
KINDS = {spec.model_fields["kind"].default: spec for spec in (CaptureSpec, PruneSpec, ExportSpec, PushSpec, SweepSpec)}
WRONG = [None, 7, -1, 1e300, 10**400, True, "text", "", [], [1], {}, {"a": 1}, ["x" * 9]]


def made(root: Path, name: str) -> Path:
    with create_run("capture", SPEC, out=root / name) as run:
        run.finish({"text": "x", "step_seconds": 0.1})
    update_run(root / name, name="a name", tags=["t"], notes="n")
    return root / name


def check(root: Path, run: Path) -> None:
    """What must hold whatever stands in the documents of ``run``."""
    listed = {found.id: found for found in list_runs(root)}
    assert listed["good"].state == "finished" and listed["good"].name == "a name"
    bad = listed[run.name]
    json.dumps(bad.to_dict(), allow_nan=False)
    assert isinstance(bad.created, str) and isinstance(bad.name, str) and "\n" not in bad.problem
    try:
        opened = open_run(run, unfinished=True)
        opened.text, opened.result, opened.name, opened.seconds  # noqa: B018
    except SapError as problem:
        assert isinstance(problem, RunProblem) and "\n" not in str(problem) and len(str(problem)) < 800
        assert bad.problem or "can't be used" not in str(problem)


@pytest.mark.parametrize("name", ["spec.json", "manifest.json", "meta.json", "result.json", "writer.json"])
def test_any_bytes_in_a_document(tmp_path, name):
    made(tmp_path, "good")
    run = made(tmp_path, "bad")
    for content in BYTES:
        (run / name).write_bytes(content)
        check(tmp_path, run)
    delete_run(run)
    assert [found.id for found in list_runs(tmp_path)] == ["good"]


@pytest.mark.parametrize("name", ["spec.json", "manifest.json", "meta.json", "result.json"])
@pytest.mark.slow
def test_any_type_in_any_field(tmp_path, name):
    made(tmp_path, "good")
    run = made(tmp_path, "bad")
    whole = json.loads((run / name).read_text())
    fields = [*whole, *(["method", "sparsity", "budget", "preset", "target_speedup"] if name == "spec.json" else [])]
    for field in fields:
        for value in WRONG:
            document = whole | {field: value}
            if field == "kind" or name != "spec.json":
                (run / name).write_text(json.dumps(document))
                check(tmp_path, run)
                continue
            for kind in [kind for kind, spec in KINDS.items() if field in spec.model_fields][:2] or KINDS:
                (run / name).write_text(json.dumps(document | {"kind": kind}))
                check(tmp_path, run)
    delete_run(run)


@pytest.mark.parametrize("name", ["spec.json", "manifest.json", "meta.json", "result.json"])
@pytest.mark.parametrize("thing", ["folder", "pipe", "loop", "large"])
def test_what_is_no_document_at_all(tmp_path, name, thing):
    made(tmp_path, "good")
    run = made(tmp_path, "bad")
    (run / name).unlink()
    if thing == "folder":
        (run / name).mkdir()
    elif thing == "pipe":
        os.mkfifo(run / name)
    elif thing == "loop":
        (run / name).symlink_to(name)
    else:
        with open(run / name, "wb") as file:
            file.truncate(1 << 40)
    check(tmp_path, run)
    delete_run(run)


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a/../b", "", "a//b", "a\\b", "a\0b", "."])
def test_a_manifest_that_names_files_outside_is_damaged(tmp_path, path):
    run = made(tmp_path, "bad")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["files"][path] = [1, "0" * 64]
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunProblem, match=r"is damaged: its manifest\.json can't be used"):
        open_run(run)
    assert describe_run(run).state == "damaged"


def test_a_damaged_run_is_shown_with_its_reason(tmp_path, monkeypatch, capsys):
    made(tmp_path, "good")
    run = made(tmp_path, "bad")
    monkeypatch.setenv("SAP_RUNS", str(tmp_path))
    (run / "manifest.json").write_text('{"schema": "one"}')
    assert main(["runs", "list"]) == 0 and "damaged" in capsys.readouterr().out
    assert main(["runs", "show", "bad"]) == 0 and "manifest.json can't be used" in capsys.readouterr().out
    assert main(["runs", "show", "bad", "--json"]) == 0
    assert "does not fit" in json.loads(capsys.readouterr().out)["problem"]
    assert main(["runs", "show", "missing"]) == 2
    assert main(["runs", "delete", "bad"]) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_listed_as_damaged(tmp_path):
    made(tmp_path, "good")
    run = made(tmp_path, "bad")
    run.chmod(0)
    try:
        assert {found.id: found.state for found in list_runs(tmp_path)} == {"good": "finished", "bad": "damaged"}
    finally:
        run.chmod(0o700)
