"""What an archive from outside may hold: the files of one run as its manifest lists them, and nothing else.

All of it is decided from the archive's directory and its manifest, before a byte is written.
"""

from __future__ import annotations

import os
import stat
import unicodedata
import zipfile
from pathlib import Path

from ..byte_size import format_bytes
from ..errors import InvalidInput
from .documents import LIMIT
from .manifest import MANIFEST, META, OUTSIDE, parse_manifest

MOST_FILES = 200_000
RATIO = 200  # how many times an archive's size its content may have; a run's chunks are compressed already
ALWAYS = 64 << 20  # content that is fine whatever its ratio: small runs of zeros
_DIRECTORY = 32 << 20  # bytes of the directory at the end, all of which is read at once
_LONGEST = 255  # bytes of one part of a path, on every file system in use


def check_directory(source: Path) -> None:
    """Refuse a zip file whose directory would fill the memory. Raises InvalidInput; `zipfile` finds other faults."""
    with open(source, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - (1 << 16) - 22 - 20 - 56))  # comment, end record, ZIP64 locator and end record
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    wide = tail.rfind(b"PK\6\6", 0, max(end, 0))
    found = 0
    if end >= 0:
        found = int.from_bytes(tail[end + 12 : end + 16], "little")
    if wide >= 0:
        found = max(found if found != 0xFFFFFFFF else 0, int.from_bytes(tail[wide + 40 : wide + 48], "little"))
    if found != 0xFFFFFFFF and found > _DIRECTORY:
        raise InvalidInput(f"{source} is refused: its directory has {format_bytes(found)}; nothing was unpacked.")


def check_members(source: Path, archive: zipfile.ZipFile) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """Return the name of the archive's one folder, and path inside it -> entry.

    Raises:
        InvalidInput: an entry is unsafe or not in the manifest, has another size, is there twice, or the content is
            too large for the archive; or this is no archive of a run.
        RunProblem: the manifest can't be used, or a newer version made it.
    """
    entries = archive.infolist()
    if len(entries) > MOST_FILES:
        raise _refused(source, f"it has {len(entries)} entries, expected at most {MOST_FILES}")
    top, members = _one_folder(source, [info for info in entries if not info.is_dir()])
    if members[MANIFEST].file_size > LIMIT:
        raise _refused(source, f"its {MANIFEST} has {members[MANIFEST].file_size} bytes, expected at most {LIMIT}")
    _check_ratio(source, members)
    with archive.open(members[MANIFEST]) as file:
        files = parse_manifest(file.read(LIMIT), f"The run in {source}")["files"]
    for name, info in members.items():
        if name in files and info.file_size != files[name][0]:
            raise _refused(source, f"{name!r} has {info.file_size} bytes, {MANIFEST} says {files[name][0]}")
        if name not in files and name not in OUTSIDE:
            raise _refused(source, f"{name!r} is not in its {MANIFEST}")
        if name == META and info.file_size > LIMIT:
            raise _refused(source, f"its {META} has {info.file_size} bytes, expected at most {LIMIT}")
    missing = next((name for name in files if name not in members), None)
    if missing is not None:
        raise _refused(source, f"{missing!r} is in its {MANIFEST} and not in the archive")
    return top, {name: info for name, info in members.items() if name in files or name in (MANIFEST, META)}


def _one_folder(source: Path, entries: list[zipfile.ZipInfo]) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    members: dict[str, zipfile.ZipInfo] = {}
    tops: set[str] = set()
    files: set[str] = set()  # as a file system that knows no case takes them
    folders: set[str] = set()
    for info in entries:
        parts = info.filename.split("/")
        if not _safe(info, parts):
            raise _refused(source, f"it holds the unsafe entry {ascii(info.filename)[:200]}")
        folded = [unicodedata.normalize("NFKC", part).casefold() for part in parts]
        path, parents = "/".join(folded), {"/".join(folded[:depth]) for depth in range(1, len(folded))}
        if path in files or path in folders or parents & files:
            raise _refused(source, f"it holds {ascii(info.filename)[:200]} twice")
        files.add(path)
        folders |= parents
        tops.add(parts[0])
        members["/".join(parts[1:])] = info
    if len(tops) != 1 or MANIFEST not in members:
        raise InvalidInput(f"{source} is not a run archive: expected one folder with a {MANIFEST} in it.")
    return tops.pop(), members


def _safe(info: zipfile.ZipInfo, parts: list[str]) -> bool:
    """Return whether an entry is a plain file that stays inside the new folder, whatever the system."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    return (
        not {"", ".", ".."} & set(parts)
        and not any(letter in info.filename for letter in '\\:*?"<>|')
        and info.filename.isprintable()
        and all(len(part.encode()) <= _LONGEST and part == part.rstrip(" .") for part in parts)
        and kind in (0, stat.S_IFREG)
        and info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others fill the memory as they please
        and not info.flag_bits & 1  # encrypted
    )


def _check_ratio(source: Path, members: dict[str, zipfile.ZipInfo]) -> None:
    there = os.path.getsize(source)
    if sum(info.compress_size for info in members.values()) > there:
        raise _refused(source, "its entries overlap")
    size = sum(info.file_size for info in members.values())
    if size > max(ALWAYS, RATIO * there):
        raise _refused(source, f"{format_bytes(there)} unpack to {format_bytes(size)}, more than {RATIO} times as much")


def _refused(source: Path, why: str) -> InvalidInput:
    return InvalidInput(f"{source} is refused: {why}; nothing was unpacked.")
