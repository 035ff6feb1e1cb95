"""Outputs that appear whole or not at all, and never replace anything without consent.

A result is written beside its target under a hidden name that ends in ``.sap-part`` and is locked while its writer
runs; this lock tells it from what a killed process left (see `leftovers`). At the end it is renamed to its target
without replacing. With ``replace`` the two are exchanged in one step; the old content is deleted only if it has not
changed since the work began. What appears at the target meanwhile is kept, and the result gets a free name beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, OperationFailed
from .local import disk_problem
from .locks import Lock, is_locked, one_at_a_time
from .paths import local_folder
from .records import record
from .renames import rename_new, swap

PART, NEW, OLD, STREAMED = "sap-part", "sap-new", "sap-old", "streamed"


class Output:
    """A file or folder that this process is going to write; use it as a context manager.

    Write to ``part`` and call `publish`. Leaving the context without that removes what was written.

    Args:
        path: Target of the result.
        folder: Make a folder, which one process at a time can do, or a file.
        replace: A file or folder may be there; it is replaced at the end.
        resumable: ``part`` is work that continues where it was interrupted: it is neither emptied nor removed.

    Raises:
        InvalidInput: something is there (unless ``replace``), it is of the other kind or an address, it can't be
            written, or another process is writing it; nothing is left behind.
    """

    def __init__(
        self, path: str | os.PathLike, *, folder: bool, replace: bool = False, resumable: bool = False
    ) -> None:
        what = "Output folder" if folder else "Output"
        target = local_folder(path, "This output")
        if replace and os.path.islink(target):
            target = target.resolve()
        self._made: list[Path] = []  # parents that were missing
        self._lock: Lock | None = None
        self._published = False
        recover(target)
        there = _is_there(what, target)
        if there:
            _check_replaceable(what, target, folder=folder, replace=replace)
        self.target, self.folder, self.resumable = target, folder, resumable
        self._seen = content(target) if there else None
        try:
            self._make_parents()
            self.part = self._reserve()
            record(target.parent)
        except OSError as error:
            self.close()
            raise _not_writable(what, target, error) from None
        except BaseException:
            self.close()
            raise

    def __fspath__(self) -> str:
        return str(self.target)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def publish(self, source: Path | None = None) -> Path:
        """Move what was written, ``part`` or ``source`` on the same file system, to the target; return the target.

        Raises:
            OperationFailed: something appeared at the target, or what is to be replaced has changed, since the work
                began; it is kept, and the result has the name that the message gives. Or the system refuses.
        """
        source = source or self.part
        try:
            with one_at_a_time(self.target):
                published = self._as_new(source) if self._seen is None else self._replacing(source)
        except OSError as error:
            raise disk_problem(error, self.target) from error
        if not published:
            kept = self._at_free_name(source)
            raise OperationFailed(
                f"{self.target} appeared or changed while this ran and stays as it is; the result is in {kept}."
            )
        self._published = source == self.part
        self._made.clear()
        return self.target

    def close(self) -> None:
        """Remove what was not published; never raises."""
        if self._lock is not None:
            if not self._published and not self.resumable:
                remove_quietly(self.part)
            elif self.resumable:  # refused before it began: an empty folder is nothing to go on with
                with contextlib.suppress(OSError):
                    self.part.rmdir()
            self._lock.release()
            self._lock = None
        for parent in reversed(self._made):
            with contextlib.suppress(OSError):
                parent.rmdir()
        self._made.clear()

    def _make_parents(self) -> None:
        missing = []
        parent = self.target.parent
        while not os.path.lexists(parent):
            missing.append(parent)
            parent = parent.parent
        for parent in reversed(missing):
            with contextlib.suppress(FileExistsError):  # another process made it just now
                parent.mkdir()
                self._made.append(parent)

    def _reserve(self) -> Path:
        if not self.folder:
            part = hidden(self.target, PART, uuid.uuid4().hex[:8])
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            self.part, self._lock = part, Lock(part)
            return part
        part = hidden(self.target, STREAMED if self.resumable else PART)
        while True:
            part.mkdir(exist_ok=True)
            try:
                self._lock = Lock(part)
            except FileNotFoundError:
                continue  # its owner removed it just now
            except BlockingIOError:
                raise InvalidInput(
                    f"Another process is writing {self.target}; wait for it, or choose another folder."
                ) from None
            self.part = part
            break
        if os.path.lexists(self.target) and self._seen is None:  # that owner has published
            raise InvalidInput(f"Output folder {self.target} exists already; choose another, or remove it first.")
        if not self.resumable:
            for old in part.iterdir():  # what a killed process left
                remove_quietly(old)
        return part

    def _as_new(self, source: Path) -> bool:
        try:
            rename_new(source, self.target)
        except FileExistsError:
            return False
        return True

    def _replacing(self, source: Path) -> bool:
        if not os.path.lexists(self.target):
            return self._as_new(source)
        if content(self.target) != self._seen:
            return False
        token = uuid.uuid4().hex[:8]
        old = hidden(self.target, OLD, token)
        source.rename(old)
        try:
            swapped = swap(old, self.target)
        except OSError:
            with contextlib.suppress(OSError):
                old.rename(source)
            raise
        if not swapped:
            new = old.rename(hidden(self.target, NEW, token))  # a kill from here on is completed by `recover`
            self.target.rename(old)
            rename_new(new, self.target)
        if content(old) != self._seen:  # it changed in the last moment
            self.target.rename(source)
            try:
                rename_new(old, self.target)
            except FileExistsError:  # and once more: nobody's result is lost
                old.rename(self._free_name())
            return False
        remove_quietly(old)
        return True

    def _at_free_name(self, source: Path) -> Path:
        while True:
            kept = self._free_name()
            try:
                rename_new(source, kept)
                return kept
            except FileExistsError:
                continue

    def _free_name(self) -> Path:
        stem, suffix = (self.target.name, "") if self.folder else (self.target.stem, self.target.suffix)
        number = 2
        while os.path.lexists(kept := self.target.with_name(f"{stem}-{number}{suffix}")):
            number += 1
        return kept


def _is_there(what: str, target: Path) -> bool:
    try:
        os.lstat(target)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _not_writable(what, target, error) from None
    return True


def _check_replaceable(what: str, target: Path, *, folder: bool, replace: bool) -> None:
    if not replace:
        raise InvalidInput(f"{what} {target} exists already; choose another, or remove it first.")
    if target.is_dir() != folder:
        kind = "not a folder" if folder else "a folder"
        raise InvalidInput(f"{what} {target} exists and is {kind}; choose another.")
    if folder and os.path.ismount(target):
        raise InvalidInput(f"{what} {target} is a mount point; give a folder below it.")


def _not_writable(what: str, target: Path, error: OSError) -> InvalidInput:
    return InvalidInput(f"{what} {target} can't be written ({error.strerror or error}); choose another place.")


def recover(target: Path) -> None:
    """Complete a replacement of ``target`` that was interrupted while nothing, or an empty folder, was there."""
    with contextlib.suppress(OSError):
        reserved = target.is_dir() and not any(target.iterdir())
        if (os.path.lexists(target) and not reserved) or not target.parent.is_dir():
            return
        _complete(target, reserved)


def _complete(target: Path, reserved: bool) -> None:
    start = hidden(target, "", "").name.rstrip(".")
    for new in sorted(target.parent.glob(f"{_escaped(start)}.*.{NEW}")):
        old = new.with_name(new.name.removesuffix(NEW) + OLD)
        if os.path.lexists(old) and not is_locked(new):
            if reserved:
                os.rename(new, target)  # which replaces an empty folder only
            else:
                rename_new(new, target)
            remove_quietly(old)
            return


def hidden(target: Path, kind: str, token: str = "") -> Path:
    """Return the hidden name beside ``target`` for an unfinished output; long names are cut."""
    name = target.name
    if len(os.fsencode(name)) > 180:
        name = f"{name[:40]}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"
    return target.with_name(".".join(["", name, *([token] if token else []), kind]))


def content(path: Path) -> Any:
    """Return a value that changes with a file or folder: size, time and inode of every file below it."""
    if path.is_dir() and not path.is_symlink():
        found = {}
        for parent, _, names in os.walk(path):
            for name in names:
                file = os.path.join(parent, name)
                found[os.path.relpath(file, path)] = _facts(file)
        return found
    return _facts(path)


def remove_quietly(path: Path) -> None:
    """Remove a file or folder, ignoring errors of the system."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _facts(path: str | Path) -> tuple[int, int, int] | None:
    try:
        stat = os.lstat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
