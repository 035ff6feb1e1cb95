"""Find the Python files that a model's own code consists of, from their text; none of it is run here. No torch.

Those are the files that ``auto_map`` names in config.json and tokenizer_config.json, and the files that these import
from beside them (transformers fetches the same: `dynamic_module_utils.get_relative_import_files`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import ModelProblem
from ..untrusted import MIB, is_file, read_text
from .small_files import read_config

FILE_LIMIT, MOST_FILES = MIB, 32
ENCODING = "latin-1"  # reads any bytes; names of modules are ASCII
HERE = PurePosixPath()
_SPEAKERS = ("config.json", "tokenizer_config.json")


@dataclass(frozen=True)
class CodeFiles:
    """The code of a model folder.

    Attributes:
        here: File names inside the folder.
        missing: Files that are named and not there, or too large.
        elsewhere: Hub ids of other models whose code ``auto_map`` names.
    """

    here: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.here or self.missing or self.elsewhere)


def code_files(folder: Path, config: dict[str, Any] | None = None) -> CodeFiles:
    """Return the Python files that the model in ``folder`` names as its code.

    Args:
        folder: The model's folder.
        config: Its config.json, if that was read already.
    """

    def read(name: str) -> str | None:
        path = folder / name
        if not is_file(path) or path.stat().st_size > FILE_LIMIT:
            return None
        return read_text(path, name, limit=FILE_LIMIT, encoding=ENCODING, problem=ModelProblem)

    return follow(documents_of(folder, config), read)


def follow(documents: Iterable[dict[str, Any]], read: Callable[[str], str | None]) -> CodeFiles:
    """Return `code_files` of documents with an ``auto_map``.

    ``read`` returns the text of a file by name, None if there is none.
    """
    here: list[str] = []
    missing: list[str] = []
    elsewhere: set[str] = set()
    open_ = []
    for reference in sorted({each for document in documents for each in _references(document.get("auto_map"))}):
        repository, _, name = reference.rpartition("--")
        if repository:
            elsewhere.add(repository)
        elif file := _file_of(name.rpartition(".")[0]):
            open_.append(file)
    while open_:
        file = open_.pop(0)
        if file in here or file in missing:
            continue
        text = read(file) if len(here) < MOST_FILES else None
        if text is None:
            missing.append(file)
            continue
        here.append(file)
        open_ += sorted(_imported(text, PurePosixPath(file).parent))
    return CodeFiles(tuple(here), tuple(missing), tuple(sorted(elsewhere)))


def documents_of(folder: Path, config: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the documents of a model folder that can have an ``auto_map``."""
    for name in _SPEAKERS:
        if config is not None and name == "config.json":
            yield config
        elif is_file(folder / name):
            yield read_config(folder / name)


def _references(auto_map: Any) -> Iterator[str]:
    """Yield the "module.Class" or "owner/name--module.Class" of an auto_map; a tokenizer has a slow and a fast one."""
    for entry in auto_map.values() if isinstance(auto_map, dict) else ():
        for reference in entry if isinstance(entry, list) else (entry,):
            if isinstance(reference, str) and "." in reference:
                yield reference


def _imported(text: str, beside: PurePosixPath) -> set[str]:
    """Return the files that a Python text imports relatively; none where it does not parse."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    result = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            modules = [node.module] if node.module else [alias.name for alias in node.names]
            result |= {file for module in modules if (file := _file_of(module, beside))}
    return result


def _file_of(module: str, beside: PurePosixPath = HERE) -> str | None:
    """Return the file of a module's dotted name; None for a name that is none."""
    parts = module.split(".")
    return str(beside.joinpath(*parts)) + ".py" if all(part.isidentifier() for part in parts) else None
