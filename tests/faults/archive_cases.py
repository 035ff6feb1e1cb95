"""Archives of runs that hold what no archive of a run may hold."""

from __future__ import annotations

import json
import os
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fork_runner import Case
from input_cases import documents

Entries = dict[str, bytes]
Change = Callable[[Entries], None]


def archive_cases(run: Path) -> Iterator[Case]:
    """``sap runs import`` of changed archives of a sound run."""
    sound = {f"run/{path.relative_to(run)}": path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    for name, change in _changes().items():
        yield Case(f"runs import: {name}", "archive", partial(_changed, sound, change))
    for name, change in _bytes().items():
        yield Case(f"runs import: {name}", "archive", partial(_spoilt, sound, change))
    for file, name, text in documents():
        if file != "meta.json" or name in ("empty", "nested"):  # a name or tag that can't be used harms nothing else
            allowed = (0,) if file == "meta.json" else (2,)
            change = partial(_document, file, text)
            yield Case(f"runs import: {file}: {name}", "archive", partial(_changed, sound, change), allowed)


def _changes() -> dict[str, Change]:
    names = {
        "..": "run/../../evil", "absolute": "/tmp/evil", "a backslash": "run\\..\\evil", "a drive": "C:/evil",
        "an escape": "run/\x1b[31mred", "a long name": "run/" + "x" * 300, "a second folder": "other/x",
        "an unlisted file": "run/extra.bin", "an unlisted document": "run/sweep.json", "another case": "run/SPEC.json",
        "a file below a file": "run/spec.json/x", "a dot": "run/./x", "nothing": "run//x", "code": "run/code-ran",
        "a chunk too many": "run/trajectory/0.zarr/received/c/9/9/9/9",
    }  # fmt: skip
    found: dict[str, Change] = {f"with {name}": partial(_add, path, b"x") for name, path in names.items()}
    for file in ("spec.json", "manifest.json", "result.json", "trajectory/0.zarr/zarr.json"):
        found[f"without {file}"] = partial(_drop, f"run/{file}")
        if file != "manifest.json":
            found[f"with one byte of {file} changed"] = partial(_flip, f"run/{file}")
            found[f"with {file} longer"] = partial(_add, f"run/{file}", b"{}" * 5000)
    found["without anything"] = lambda entries: entries.clear()
    found["with other files only"] = lambda entries: (entries.clear(), entries.update({"run/a.txt": b"a"}))[0]
    found["with a bomb that the manifest lists"] = partial(_listed, 300 << 20)
    found["with a size that the manifest gets wrong"] = partial(_listed, 100, said=10**15)
    return found


def _bytes() -> dict[str, Callable[[Path], Any]]:
    def fifo(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    def link(path: Path) -> None:
        entry = zipfile.ZipInfo("run/link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(entry, "/etc/passwd")

    def twice(path: Path) -> None:
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
            warnings.simplefilter("ignore")
            archive.writestr("run/spec.json", "{}")

    def method(number: int, path: Path) -> None:
        content = path.read_bytes()
        at = content.index(b"PK\1\2")
        path.write_bytes(content[: at + 10] + number.to_bytes(2, "little") + content[at + 12 :])

    def flags(path: Path) -> None:
        content = path.read_bytes()
        at = content.index(b"PK\1\2")
        path.write_bytes(content[: at + 8] + b"\1\0" + content[at + 10 :])

    def directory(path: Path) -> None:
        content = path.read_bytes()
        at = content.rindex(b"PK\5\6")
        path.write_bytes(content[: at + 12] + b"\xfe\xff\xff\xff" + content[at + 16 :])

    return {
        "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
        "cut by a byte": lambda path: os.truncate(path, path.stat().st_size - 1),
        "empty": lambda path: os.truncate(path, 0),
        "a text": lambda path: path.write_text("PK"),
        "a pipe": fifo,
        "with a link": link,
        "with a file twice": twice,
        "with an encrypted file": flags,
        "with LZMA": partial(method, 14),
        "with an unknown method": partial(method, 99),
        "with a directory of 4 GB": directory,
    }


def _add(path: str, content: bytes, entries: Entries) -> None:
    entries[path] = content


def _drop(path: str, entries: Entries) -> None:
    del entries[path]


def _flip(path: str, entries: Entries) -> None:
    content = bytearray(entries[path])
    content[len(content) // 2] ^= 1
    entries[path] = bytes(content)


def _document(file: str, text: bytes, entries: Entries) -> None:
    entries[f"run/{file}"] = text


def _listed(size: int, entries: Entries, said: int | None = None) -> None:
    manifest = json.loads(entries["run/manifest.json"])
    manifest["files"]["zeros"] = [size if said is None else said, "0" * 64]
    entries["run/manifest.json"] = json.dumps(manifest).encode()
    entries["run/zeros"] = bytes(size)


def _changed(sound: Entries, change: Change, folder: Path) -> list[Any]:
    entries = dict(sound)
    change(entries)
    _write(entries, folder / "x.zip")
    return ["runs", "import", "x.zip"]


def _spoilt(sound: Entries, change: Callable[[Path], Any], folder: Path) -> list[Any]:
    _write(sound, folder / "x.zip")
    change(folder / "x.zip")
    return ["runs", "import", "x.zip"]


def _write(entries: Entries, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
