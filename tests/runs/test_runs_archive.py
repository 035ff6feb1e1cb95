"""A run leaves as one zip and comes back whole; anything unsafe is refused before a byte is written."""

from __future__ import annotations

import stat
import zipfile

import pytest

from sap_core.errors import InvalidInput, RunProblem
from sap_core.runs.archive import export_archive, import_archive
from sap_core.runs.meta import update_run
from sap_core.runs.reading import open_run
from sap_core.runs.store import create_run
from sap_core.specs import CaptureSpec


@pytest.fixture
def archive(tmp_path):
    with create_run("capture", CaptureSpec.build(model="m"), out=tmp_path / "a" / "one") as run:
        run.write_json("deep/er/data.json", list(range(100)))
        run.finish({"text": "hello"})
    update_run(run.path, tags=["kept"])
    return export_archive(run.path, tmp_path / "one.zip")


def rewrite(archive, change):
    with zipfile.ZipFile(archive) as old:
        entries = [(info, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(archive, "w") as new:
        for info, data in change(entries):
            new.writestr(info, data)


def test_there_and_back(tmp_path, archive):
    run = import_archive(archive, root=tmp_path / "b")
    assert run.path == tmp_path / "b" / "one" and run.text == "hello" and run.meta["tags"] == ["kept"]
    again = import_archive(archive, root=tmp_path / "b")
    assert again.id == "one-2"
    open_run(again.path).verify()
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["one", "one-2"]
    with pytest.raises(InvalidInput, match="exists already"):
        export_archive(run.path, archive)


@pytest.mark.parametrize("name", ["one/../../evil", "/etc/evil", "one\\..\\evil", "C:/evil", "two/x"])
def test_unsafe_paths_are_refused(tmp_path, archive, name):
    rewrite(archive, lambda entries: [*entries, (name, b"x")])
    with pytest.raises(InvalidInput, match=r"unsafe entry|expected one folder"):
        import_archive(archive, root=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_link_is_refused(tmp_path, archive):
    link = zipfile.ZipInfo("one/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    rewrite(archive, lambda entries: [*entries, (link, b"/etc")])
    with pytest.raises(InvalidInput, match="unsafe entry"):
        import_archive(archive, root=tmp_path / "b")


def test_a_changed_or_missing_file_is_found(tmp_path, archive):
    rewrite(archive, lambda entries: [(i, d.replace(b"99", b"98") if "deep" in i.filename else d) for i, d in entries])
    with pytest.raises(RunProblem, match="damaged"):
        import_archive(archive, root=tmp_path / "b")
    rewrite(archive, lambda entries: [(i, d) for i, d in entries if "deep" not in i.filename])
    with pytest.raises(RunProblem, match="truncated"):
        import_archive(archive, root=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_what_is_not_a_run_archive(tmp_path, archive):
    with pytest.raises(InvalidInput, match="does not exist"):
        import_archive(tmp_path / "none.zip", root=tmp_path / "b")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(InvalidInput, match="not a readable zip"):
        import_archive(tmp_path / "text.zip", root=tmp_path / "b")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match="not a readable zip"):
        import_archive(archive, root=tmp_path / "b")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("folder/readme.txt", "x")
    with pytest.raises(InvalidInput, match=r"expected one folder with a manifest\.json"):
        import_archive(tmp_path / "other.zip", root=tmp_path / "b")


def test_an_unfinished_run_is_not_exported(tmp_path):
    run = create_run("capture", CaptureSpec.build(model="m"), out=tmp_path / "open")
    with pytest.raises(RunProblem, match="unfinished"):
        export_archive(run.path, tmp_path / "open.zip")
    assert not (tmp_path / "open.zip").exists()
