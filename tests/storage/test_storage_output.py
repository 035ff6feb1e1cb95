"""Outputs appear whole or not at all, and never take the place of what nobody agreed to replace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sap_core.errors import InvalidInput, OperationFailed
from sap_core.storage import output as module
from sap_core.storage import renames
from sap_core.storage.output import Output, recover

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["system", "posix"])
def system(request, monkeypatch):
    """With the system's calls for exclusive and exchanging renames, and without them."""
    if request.param == "posix":
        monkeypatch.setattr(renames, "_system_rename", lambda *_: False)
    return request.param


def write(output: Output, text: str = "new") -> None:
    if output.folder:
        (output.part / "weights").write_text(text)
    else:
        output.part.write_text(text)


def read(path: Path) -> str:
    return (path / "weights").read_text() if path.is_dir() else path.read_text()


@pytest.mark.parametrize("folder", [True, False])
def test_it_appears_at_the_end_and_nothing_else_stays(system, tmp_path, folder):
    with Output(tmp_path / "deep" / "out", folder=folder) as output:
        write(output)
        assert not output.target.exists()
        assert output.publish() == output.target
    assert read(tmp_path / "deep" / "out") == "new"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


@pytest.mark.parametrize("folder", [True, False])
def test_what_is_not_published_leaves_nothing_not_even_parents(system, tmp_path, folder):
    with pytest.raises(RuntimeError), Output(tmp_path / "a" / "b" / "out", folder=folder) as output:
        write(output)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("thing", ["file", "folder", "link", "empty"])
def test_what_appears_meanwhile_stays_and_the_result_is_kept_beside_it(system, tmp_path, folder, replace, thing):
    with Output(tmp_path / "out", folder=folder, replace=replace) as output:
        write(output)
        make(thing, output.target, tmp_path)
        before = listing(output.target)
        with pytest.raises(OperationFailed, match=r"stays as it is; the result is in .*out-2\."):
            output.publish()
    assert listing(tmp_path / "out") == before
    assert read(tmp_path / "out-2") == "new"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def make(thing: str, target: Path, near: Path) -> None:
    if thing == "file":
        target.write_text("precious")
    elif thing == "link":
        (near / "elsewhere").write_text("precious")
        target.symlink_to(near / "elsewhere")
    else:
        target.mkdir()
        if thing == "folder":
            (target / "thesis.txt").write_text("precious")


def listing(path: Path) -> object:
    if path.is_symlink():
        return os.readlink(path)
    return sorted((file.name, file.read_text()) for file in path.iterdir()) if path.is_dir() else path.read_text()


@pytest.mark.parametrize("folder", [True, False])
def test_replacing(system, tmp_path, folder):
    target = tmp_path / "out"
    with Output(target, folder=folder) as output:
        write(output, "old")
        output.publish()
    with pytest.raises(InvalidInput, match="exists already"):
        Output(target, folder=folder)
    with Output(target, folder=folder, replace=True) as output:
        write(output)
        assert read(target) == "old"
        output.publish()
    assert read(target) == "new" and [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("folder", [True, False])
def test_what_changes_meanwhile_is_not_replaced(system, tmp_path, folder):
    target = tmp_path / "out"
    with Output(target, folder=folder) as output:
        write(output, "old")
        output.publish()
    with Output(target, folder=folder, replace=True) as output:
        write(output)
        (target / "thesis.txt" if folder else target).write_text("precious, and longer")
        with pytest.raises(OperationFailed, match="stays as it is; the result is in"):
            output.publish()
    assert "precious, and longer" in str(listing(target)) and read(tmp_path / "out-2") == "new"


def test_what_changes_in_the_very_last_moment_is_not_replaced(system, tmp_path, monkeypatch):
    target = tmp_path / "out"
    target.mkdir()
    (target / "weights").write_text("old")
    real = module.swap

    def late(first, second):
        (second / "thesis.txt").write_text("precious")
        return real(first, second)

    with Output(target, folder=True, replace=True) as output:
        write(output)
        monkeypatch.setattr(module, "swap", late)
        with pytest.raises(OperationFailed, match="stays as it is"):
            output.publish()
    assert (target / "thesis.txt").read_text() == "precious" and read(tmp_path / "out-2") == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out-2"]


def test_one_folder_is_made_by_one_process_at_a_time(tmp_path):
    with Output(tmp_path / "out", folder=True), pytest.raises(InvalidInput, match="Another process is writing"):
        Output(tmp_path / "out", folder=True)
    with Output(tmp_path / "out", folder=True) as output:
        write(output)
        output.publish()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_killed_writer_leaves_no_reservation_and_no_files(tmp_path):
    code = (
        "import sys, os, signal; from sap_core.storage.output import Output; o = Output(sys.argv[1], folder=True); "
        "(o.part / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL and [path.name for path in tmp_path.iterdir()] == [".out.sap-part"]
    with Output(tmp_path / "out", folder=True) as output:
        assert list(output.part.iterdir()) == []
        write(output)
        output.publish()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_kill_between_two_renames_is_completed_at_the_next_look(tmp_path, monkeypatch):
    """Only where the system can't exchange two folders is there such a moment at all."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "weights").write_text("old")
    monkeypatch.setattr(renames, "_system_rename", lambda *_: False)
    with Output(target, folder=True, replace=True) as output:
        write(output)

        class Killed(BaseException):
            pass

        def die(*_):
            raise Killed

        monkeypatch.setattr(module, "rename_new", die)
        with pytest.raises(Killed):
            output.publish()
        monkeypatch.undo()
        recover(target)
        assert not target.exists(), "its writer lives: it completes it itself"
    recover(target)
    assert read(target) == "new" and [path.name for path in tmp_path.iterdir()] == ["out"]
    recover(target)
    assert read(target) == "new"


@pytest.mark.parametrize("replace", [True, False])
def test_what_can_not_be_written_is_refused_before_any_work(tmp_path, replace):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path, folder in (
        (tmp_path / "file" / "out", True), (tmp_path / "file" / "out", False), (tmp_path / "file", True),
        (tmp_path / "folder", False), ("/proc/out", True), (tmp_path / ("n" * 300), True), ("s3://bucket/out", True),
        ("out\0put", True),
    ):  # fmt: skip
        with pytest.raises(InvalidInput) as caught:
            Output(path, folder=folder, replace=replace)
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_modes_follow_the_umask(tmp_path):
    with Output(tmp_path / "file", folder=False) as output:
        output.publish()
    with Output(tmp_path / "folder", folder=True) as output:
        output.publish()
    (tmp_path / "usual").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode
