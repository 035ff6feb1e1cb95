"""A run leaves as one zip and comes back whole; anything unsafe is refused before a byte is written."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sap_core.errors import InvalidInput, RunProblem, SapError
from sap_core.runs import archive_check
from sap_core.runs.archive import archive_pieces, export_archive, import_archive
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


@pytest.mark.parametrize(
    "name",
    [
        "one/../../evil", "/etc/evil", "one\\..\\evil", "C:/evil", "one/./x", "one//x", "one/\x1b[31m", "one/\u202ex",
        "one/a.", "one/a ", "one/" + "x" * 300, "..", "./manifest.json", "one/con:", "one/a?",
    ],
)  # fmt: skip
def test_unsafe_paths_are_refused(tmp_path, archive, name):
    rewrite(archive, lambda entries: [*entries, (name, b"x")])
    with pytest.raises(InvalidInput, match=r"unsafe entry|is refused"):
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
    with pytest.raises(InvalidInput, match=r"in its manifest.json and not in the archive"):
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


@pytest.mark.parametrize("name", ["one/extra.txt", "one/deep/extra.json", "two/x"])
def test_what_the_manifest_does_not_list_is_refused(tmp_path, archive, name):
    rewrite(archive, lambda entries: [*entries, (name, b"x")])
    with pytest.raises(InvalidInput, match=r"not in its manifest|expected one folder"):
        import_archive(archive, root=tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "name", ["one/result.json", "one/RESULT.json", "one/result.json/x", "one/deep", "ONE/Deep/er", "one/ﬁx", "one/FIX"]
)
def test_two_entries_for_one_place_are_refused(tmp_path, archive, name):
    rewrite(archive, lambda entries: [*entries, ("one/fix", b"x"), (name, b"x")])
    with pytest.raises(InvalidInput, match="twice"):
        import_archive(archive, root=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_size_that_the_manifest_does_not_say_is_refused(tmp_path, archive):
    rewrite(archive, lambda entries: [(i, d + b" " if "result" in i.filename else d) for i, d in entries])
    with pytest.raises(InvalidInput, match=r"result.json' has \d+ bytes, manifest.json says \d+"):
        import_archive(archive, root=tmp_path / "b")


def test_sizes_are_bounded_before_anything_is_written(tmp_path, archive, monkeypatch):
    def bomb(entries, size, method):
        zeros = zipfile.ZipInfo("one/zeros")
        zeros.compress_type = method
        for info, data in entries:
            if info.filename == "one/manifest.json":
                manifest = json.loads(data)
                manifest["files"]["zeros"] = [size, "0" * 64]
                yield info, json.dumps(manifest)
            else:
                yield info, data
        yield zeros, bytes(size)

    rewrite(archive, lambda entries: bomb(entries, 80 << 20, zipfile.ZIP_DEFLATED))
    with pytest.raises(InvalidInput, match="more than 200 times as much"):
        import_archive(archive, root=tmp_path / "b")
    rewrite(archive, lambda entries: [item for item in entries if item[0].filename != "one/zeros"])
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        rewrite(archive, lambda entries, method=method: bomb(entries, 100, method))
        with pytest.raises(InvalidInput, match="unsafe entry"):
            import_archive(archive, root=tmp_path / "b")
        rewrite(archive, lambda entries: [item for item in entries if item[0].filename != "one/zeros"])
    monkeypatch.setattr(archive_check, "MOST_FILES", 3)
    with pytest.raises(InvalidInput, match="at most 3"):
        import_archive(archive, root=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_entries_that_share_their_content_are_refused(tmp_path, archive):
    """A directory may name one piece of the file many times, each time under another name."""
    content = bytearray(archive.read_bytes())
    first = content.index(b"PK\1\2")
    struct.pack_into("<I", content, first + 20, len(content) * 2)  # compressed size of the first entry
    archive.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"overlap|not a readable zip"):
        import_archive(archive, root=tmp_path / "b")


def test_a_directory_that_would_fill_the_memory_is_refused(tmp_path, archive, monkeypatch):
    monkeypatch.setattr(archive_check, "_DIRECTORY", 100)
    with pytest.raises(InvalidInput, match="its directory has"):
        import_archive(archive, root=tmp_path / "b")


def test_the_archive_is_made_in_pieces(tmp_path, archive):
    run = import_archive(archive, root=tmp_path / "b")
    pieces = list(archive_pieces(run))
    assert len(pieces) > 3
    names = zipfile.ZipFile(io.BytesIO(b"".join(pieces))).namelist()
    kept = ("spec.json", "result.json", "deep/er/data.json", "manifest.json", "meta.json")
    assert sorted(names) == sorted(f"one/{name}" for name in kept)
    (run.path / "result.json").write_text("{}")
    with pytest.raises(RunProblem):
        next(archive_pieces(run))


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_of_an_archive_is_a_whole_run_or_one_error(tmp_path_factory, archive, data):
    """Bytes changed, cut, or put in anywhere: nothing but this package's errors, and nothing half left behind."""
    content = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                content[at] = data.draw(st.integers(0, 255))
            case "cut":
                del content[at : at + data.draw(st.integers(1, 40))]
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=20))
        if not content:
            break
    place = tmp_path_factory.mktemp("changed")
    (place / "x.zip").write_bytes(content)
    try:
        run = import_archive(place / "x.zip", root=place / "runs")
    except SapError as error:
        assert "\n" not in str(error) and not (place / "runs").exists()
    else:
        run.verify()
        assert [path.name for path in (place / "runs").iterdir()] == [run.id]


names = st.one_of(
    st.sampled_from(["", ".", "..", "a", "A", "manifest.json", "one", "a\\b", "a:b", "\x1b[0m", "\u202e", "a.", "é"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(paths=st.lists(st.lists(names, min_size=1, max_size=4), min_size=1, max_size=5), sound=st.booleans())
@settings(max_examples=80, deadline=None)
def test_no_name_leads_out_of_the_new_folder(tmp_path_factory, paths, sound):
    place = tmp_path_factory.mktemp("names")
    listed = {"/".join(path): [1, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"] for path in paths}
    manifest = {"schema": 1, "kind": "capture", "state": "finished", "files": listed if sound else {}}
    with zipfile.ZipFile(place / "x.zip", "w") as archive:
        archive.writestr("one/manifest.json", json.dumps(manifest))
        for path in paths:
            archive.writestr("one/" + "/".join(path), b"x")
    with pytest.raises(SapError):  # there is no spec.json that fits
        import_archive(place / "x.zip", root=place / "runs")
    assert [path.name for path in place.iterdir()] == ["x.zip"]
