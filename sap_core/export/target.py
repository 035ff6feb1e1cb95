"""Where a checkpoint is written: reserved before any work, and never in the place of something else."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatch
from pathlib import Path

from ..errors import InvalidInput
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
    """Reserve the folder of a checkpoint, or take one that is reserved already.

    Args:
        out: the folder, or the `Output` that reserves it.
        overwrite: replace a checkpoint that is there.
        resumable: what an interrupted call wrote is taken up again.

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
    """Check a reserved folder for ``needed`` bytes of a model that was read from the folder ``source``.

    Raises:
        InvalidInput: it is that folder, or there is too little space.
    """
    if source and Path(source).resolve() == output.target.resolve():
        raise InvalidInput(f"{output.target} is the folder the model was loaded from; choose another.")
    free = shutil.disk_usage(output.target.parent).free
    if free < needed:
        raise InvalidInput(
            f"{output.target.parent} has {free / 2**30:.1f} GiB free but the export needs {needed / 2**30:.1f}; "
            "free some space or choose another folder."
        )


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
