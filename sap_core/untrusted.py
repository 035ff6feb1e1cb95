"""Readers of files from outside: regular files of bounded size, with one-line errors that name the file.

A model folder, a prompt file, a .npy or an archive can hold anything. All readers use these functions, so that a pipe
never blocks, a huge or deeply nested file never fills the memory, and whatever a parser raises becomes an error of this
package. The parser's own exception stays attached as the cause.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .byte_size import format_bytes
from .errors import InvalidInput, SapError
from .resources import is_out_of_memory

KIB, MIB = 1 << 10, 1 << 20
# Nesting of JSON beyond which a document is refused; no config, index or tokenizer comes near it.
DEEPEST = 100


def read_bytes(path: str | os.PathLike, what: str, *, limit: int, problem: type[InvalidInput] = InvalidInput) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file.
        what: Names the file in an error: "prompts file", "config.json".
        limit: Largest accepted size in bytes.
        problem: Class of the error.

    Raises:
        InvalidInput: missing, unreadable, no regular file (a folder, a pipe, a device), or larger than ``limit``.
    """
    check_path(path, what, problem)
    try:
        # Without O_NONBLOCK, opening a pipe that nobody writes to waits for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise problem(f"{what} '{path}' does not exist.") from None
    except OSError as error:
        raise problem(f"{what} '{path}' can't be read ({error.strerror}).") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise problem(f"{what} '{path}' is no regular file; expected a file with content, not a folder or a pipe.")
        try:
            # The size says it before anything is read; /proc and the like say 0 whatever they hold.
            content = file.read(limit + 1) if found.st_size <= limit else b""
        except OSError as error:
            raise problem(f"{what} '{path}' can't be read ({error.strerror}).") from error
    if max(len(content), found.st_size) > limit:
        raise problem(
            f"{what} '{path}' is larger than {format_bytes(limit)}, the most that is read; give a smaller one."
        )
    return content


def read_text(
    path: str | os.PathLike,
    what: str,
    *,
    limit: int,
    encoding: str = "utf-8",
    problem: type[InvalidInput] = InvalidInput,
) -> str:
    """Return a text file's content with line breaks as newline characters; arguments as `read_bytes`.

    Raises:
        InvalidInput: as `read_bytes`; the file is not valid in ``encoding``.
    """
    content = read_bytes(path, what, limit=limit, problem=problem)
    try:
        return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise problem(f"{what} '{path}' is not UTF-8 text.") from error


def read_json(
    path: str | os.PathLike, what: str, *, limit: int, problem: type[InvalidInput] = InvalidInput
) -> dict[str, Any]:
    """Return the JSON object in a file; arguments as `read_bytes`.

    Raises:
        InvalidInput: as `read_text` and `parse_json`; the file does not hold a JSON object.
    """
    text = read_text(path, what, limit=limit, encoding="utf-8-sig", problem=problem)
    found = parse_json(text, f"{what} '{path}'", problem=problem)
    if not isinstance(found, dict):
        raise problem(f"{what} '{path}' holds no JSON object; download or write it again.")
    return found


def parse_json(text: str | bytes, where: str, *, problem: type[InvalidInput] = InvalidInput) -> Any:
    """Parse a JSON text and return its value.

    Raises:
        InvalidInput: not JSON, nested deeper than `DEEPEST`, a number too long, or a name that an object has twice: two
            readers would disagree on which of the two counts.
    """
    try:
        found = json.loads(text, object_pairs_hook=_unique)
        if _deeper(found, DEEPEST):
            raise ValueError(f"nested deeper than {DEEPEST} levels")
    except RecursionError as error:
        raise problem(f"{where} can't be read as JSON (nested deeper than {DEEPEST} levels).") from error
    except ValueError as error:
        raise problem(f"{where} can't be read as JSON ({first_line(error)}); download or write it again.") from error
    return found


def read_npy(path: str | os.PathLike, what: str, *, limit: int, problem: type[InvalidInput] = InvalidInput) -> Any:
    """Return the array in a .npy file; arguments as `read_bytes`.

    The header is compared with the file's size first, because numpy allocates whatever size the header promises.

    Raises:
        InvalidInput: as `read_bytes`; no array, or an array of Python objects.
    """
    import io

    import numpy as np

    content = read_bytes(path, what, limit=limit, problem=problem)
    wrong = f"{what} '{path}' is not a readable .npy"
    try:
        with foreign(wrong, problem=problem):
            file = io.BytesIO(content)
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, fortran, dtype = read[version](file)
            if dtype.hasobject or not dtype.itemsize:
                raise ValueError(f"it holds {dtype}")
            promised, there = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
            if any(size < 0 for size in shape) or promised != there:
                raise ValueError(f"its header promises {promised} bytes, {there} are there")
            array = np.frombuffer(content, dtype, offset=file.tell()).copy()  # writable, as from np.load
            return array.reshape(shape, order="F" if fortran else "C")
    except MemoryError as error:  # what Python's parser raises for a header nested too deep
        raise problem(f"{wrong} (its header can't be parsed).") from error


def check_path(path: str | os.PathLike, what: str, problem: type[InvalidInput] = InvalidInput) -> None:
    """Raise ``problem`` for a path that no file system can hold: one with a NUL, or text that can't be encoded."""
    try:
        encoded = os.fsencode(path)
    except (UnicodeEncodeError, TypeError) as error:
        raise problem(f"{what} {str(path)!r} is no path ({first_line(error)}).") from error
    if b"\0" in encoded:
        raise problem(f"{what} {str(path)!r} holds a NUL character, which no path can; give another.")


def is_file(path: str | os.PathLike) -> bool:
    """Return whether ``path`` is a regular file, following links; False if it can't be inspected."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


@contextmanager
def foreign(prefix: str, hint: str = "", *, problem: type[InvalidInput] = InvalidInput) -> Iterator[None]:
    """Turn every exception a library raises about an outside file into ``problem``: "PREFIX (Kind: reason)HINT.".

    Errors of this package, a lack of memory and interrupts pass. A panic of a Rust library, which is no `Exception` in
    Python, is caught as well.
    """
    try:
        yield
    except (SapError, MemoryError):
        raise
    except BaseException as error:
        kind = type(error).__name__
        if is_out_of_memory(error) or not (isinstance(error, Exception) or kind == "PanicException"):
            raise
        raise problem(f"{prefix} ({kind}: {first_line(error)}){hint}.") from error


def first_line(error: BaseException, limit: int = 300) -> str:
    """Return an error's message on one line, cut to ``limit`` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= limit else f"{text[:limit]} ..."


def shown(value: object, limit: int = 80) -> str:
    """Return the repr of an untrusted value for an error message: printable and cut to ``limit`` characters."""
    text = ascii(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"{shown(twice)} is there twice")
    return found


def _deeper(value: Any, levels: int) -> bool:
    """Return whether lists and objects are nested more than ``levels`` deep, computed without recursion."""
    here = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        inner = (part for outer in here for part in (outer.values() if isinstance(outer, dict) else outer))
        here = [part for part in inner if isinstance(part, dict | list)]
        if not here:
            return False
    return True
