"""What killed commands leave is listed and removed; what a living process writes is neither."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sap_core.cli import main
from sap_core.models.source import local_folder
from sap_core.runs.clean import clean_leftovers, list_leftovers
from sap_core.runs.store import create_run
from sap_core.specs import CaptureSpec
from sap_core.storage.output import Output

ROOT = Path(__file__).parents[2]
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
PREPARE = "import os, pathlib, signal, sys; from sap_core.storage import output as o; t = pathlib.Path(sys.argv[1]);"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache and runs of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SAP_RUNS", str(tmp_path / "runs"))
    return tmp_path / "cache"


def killed(code: str, *args: object) -> None:
    done = subprocess.run([sys.executable, "-c", PREPARE + code, *map(str, args)], cwd=ROOT, stderr=subprocess.PIPE)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_output_is_found_where_it_was_written_and_removed(tmp_path):
    away = tmp_path / "elsewhere"
    killed(f"x = o.Output(t, folder=True); (x.part / 'w').write_bytes(b'x' * 9999); {DIE}", away / "model")
    killed(f"x = o.Output(t, folder=False); x.part.write_bytes(b'x' * 9999); {DIE}", away / "run.zip")
    (away / ".hidden").mkdir()  # not ours
    found = list_leftovers()
    assert {(one.what, Path(one.target).name) for one in found} == {
        ("half-written result", "model"),
        ("half-written result", "run.zip"),
    }
    assert all(one.bytes >= 9999 for one in found)
    with Output(away / "model", folder=True):  # somebody takes it up: it is no leftover any more
        assert [Path(one.target).name for one in list_leftovers()] == ["run.zip"]
        assert [Path(one.target).name for one in clean_leftovers(found)] == ["run.zip"]
    assert [path.name for path in away.iterdir()] == [".hidden"] and list_leftovers() == []


@pytest.mark.slow
@pytest.mark.parametrize("exchange", [True, False])
def test_a_kill_at_any_moment_of_an_overwrite_leaves_one_whole_version(tmp_path, exchange):
    """Killed before every single call that changes the file system, the next look finds the old or the new version."""
    seen = set()
    for moment in range(12):
        target = tmp_path / f"{moment}" / "model"
        target.mkdir(parents=True)
        for name in ("config.json", "weights"):
            (target / name).write_text("old")
        code = (
            "from sap_core.storage import renames as r; left = [int(sys.argv[2])]\n"
            "def counted(real):\n"
            "    def call(*a, **k):\n"
            f"        left[0] -= 1; left[0] < 0 and {DIE}; return real(*a, **k)\n"
            "    return call\n"
            "x = o.Output(t, folder=True, replace=True)\n"
            "[(x.part / n).write_text('new') for n in ('config.json', 'weights')]\n"
            f"{'' if exchange else 'r._system_rename = lambda *_: False'}\n"
            "for name in ('rename', 'replace', 'rmdir', 'mkdir', 'link', 'unlink'): "
            "setattr(os, name, counted(getattr(os, name)))\n"
            "r._system_rename = counted(r._system_rename); x.publish(); x.close()\n"
            f"{DIE}"
        )
        killed(code, target, moment)
        assert local_folder(str(target)) == target
        assert len({(target / name).read_text() for name in ("config.json", "weights")}) == 1
        seen.add((target / "weights").read_text())
        clean_leftovers(list_leftovers())
        assert [path.name for path in target.parent.iterdir()] == ["model"]
        with Output(target, folder=True, replace=True) as again:
            (again.part / "weights").write_text("newer")
            again.publish()
        assert (target / "weights").read_text() == "newer"
    assert seen == {"old", "new"}


def test_the_command_lists_and_removes(tmp_path, capsys):
    killed(f"x = o.Output(t, folder=True); (x.part / 'w').touch(); {DIE}", tmp_path / "runs" / "model")
    work = tmp_path / "runs" / ".big.streamed"
    work.mkdir()
    (work / "job.json").write_text("{}")
    (tmp_path / "runs" / ".deleted-one-abcdef").mkdir()
    (tmp_path / "runs" / ".env").write_text("mine")
    assert main(["runs", "clean", "--dry-run", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3 and work.exists()
    assert main(["runs", "clean"]) == 0
    out = capsys.readouterr().out
    assert out.count("removed: ") == 2 and f"kept: {work}" in out and work.exists()
    assert main(["runs", "clean", "--unfinished"]) == 0 and not work.exists()
    assert main(["runs", "clean"]) == 0 and "Nothing was left behind" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".env"]


def test_a_killed_deletion_is_finished_by_cleaning(tmp_path):
    with create_run("capture", CaptureSpec.build(model="m"), out=tmp_path / "runs" / "one") as run:
        run.finish({})
    code = (
        "import shutil; from sap_core.runs.listing import delete_run\n"
        f"shutil.rmtree = lambda *a, **k: {DIE}\n"
        "delete_run(t)"
    )
    killed(code, run.path)
    assert not run.path.exists() and [one.what for one in list_leftovers()] == ["half-deleted run"]
    clean_leftovers(list_leftovers())
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_cache_that_can_not_be_written_harms_nothing(tmp_path, cache):
    cache.write_text("a file")
    with Output(tmp_path / "out", folder=True) as output:
        output.publish()
    assert (tmp_path / "out").is_dir() and list_leftovers() == []
    assert os.path.lexists(cache)
