"""Where runs live, how a new one is called, and whether a folder can be made."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from pathlib import Path

from ..errors import InvalidInput


def runs_root(root: str | os.PathLike | None = None) -> Path:
    """The folder of all runs: ``root``, else the environment's SAP_RUNS, else ``runs`` in the working folder."""
    return Path(root or os.environ.get("SAP_RUNS") or "runs").expanduser().absolute()


def new_run_path(kind: str, root: str | os.PathLike | None = None) -> Path:
    """A path for a new run under the root, sortable by time: ``20261124-033412-capture-3f9a1c``. Nothing is made."""
    return runs_root(root) / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{kind}-{secrets.token_hex(3)}"


def resolve_run(run: str | os.PathLike, root: str | os.PathLike | None = None) -> Path:
    """The folder meant by a path or by a run id under the root."""
    path = Path(run).expanduser()
    if not path.exists() and path.name == str(run):
        candidate = runs_root(root) / path.name
        if candidate.exists():
            return candidate
    return path.absolute()


def check_new_folder(path: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """``path`` as an absolute path that can be made; nothing is left behind by the check.

    Raises:
        InvalidInput: something is there (unless ``overwrite`` and it is a folder), or the place is not writable.
    """
    path = Path(path).expanduser().absolute()
    if os.path.lexists(path):
        if not overwrite:
            raise InvalidInput(f"Output folder {path} exists already; choose another, or remove it first.")
        if not path.is_dir():
            raise InvalidInput(f"Output {path} exists and is not a folder; choose another.")
    parent = path.parent
    while not os.path.lexists(parent):
        parent = parent.parent
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".sap-", dir=parent))
    except OSError as error:
        raise InvalidInput(
            f"Output folder {path} can't be written ({error.strerror} at {parent}); choose another place."
        ) from None
    return path
