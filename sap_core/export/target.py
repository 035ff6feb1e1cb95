"""The folder a checkpoint is written to: reserved before any work, never replacing something else."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatch
from pathlib import Path

from ..errors import InvalidInput
from ..storage import check_space
from ..storage.output import Output

# What belongs to a checkpoint on disk; a folder with anything else in it is not replaced.
CHECKPOINT_FILES = (
    "*.json", "*.safetensors", "*.bin", "*.model", "*.jinja", "*.tiktoken", "*.py", "vocab.txt", "merges.txt",
    "README.md", "LICENSE*", "NOTICE*", ".gitattributes",
)  # fmt: skip
CACHES = (".cache", "__pycache__")  # of the Hub's client and of Python


def checkpoint_output(
    out: str | os.PathLike | Output, *, overwrite: bool = False, resumable: bool = False
) -> AbstractContextManager[Output]:
    """Reserve the folder of a checkpoint, or return one that is reserved already.

    Args:
        out: The folder, or the `Output` that reserves it.
        overwrite: Replace a checkpoint that is there.
        resumable: Continue with what an interrupted call wrote.

    Raises:
        InvalidInput: it exists (unless ``overwrite`` and it holds a checkpoint only), can't be written, or another
            process writes it; nothing is written.
    """
    if isinstance(out, Output):
        return nullcontext(out)
    output = Output(out, folder=True, replace=overwrite, resumable=resumable)
    try:
        if output.target.is_dir():
            _check_replaceable(output.target)
    except BaseException:
        output.close()
        raise
    return output


def check_checkpoint_output(output: Output, source: str | None, needed: int) -> None:
    """Check that a reserved folder can take ``needed`` bytes of a model that was read from the folder ``source``.

    Raises:
        InvalidInput: it is that folder, or there is too little space.
    """
    if source and Path(source).resolve() == output.target.resolve():
        raise InvalidInput(f"{output.target} is the folder the model was loaded from; choose another.")
    check_space(output.target.parent, needed, "The export")


def _check_replaceable(folder: Path) -> None:
    names = sorted(os.listdir(folder))
    strangers = [name for name in names if not _of_checkpoint(folder / name)]
    if names and "config.json" not in names:
        raise InvalidInput(f"{folder} holds other things than a model; it stays as it is, choose another.")
    if strangers:
        raise InvalidInput(
            f"{folder} holds {strangers[0]!r}, which is no part of a model; it stays as it is, choose another folder."
        )


def _of_checkpoint(path: Path) -> bool:
    if path.is_dir():
        return path.name in CACHES
    return any(fnmatch(path.name, pattern) for pattern in CHECKPOINT_FILES)
