"""Where runs live, how a new one is called, and whether it can be made. A place is a folder or an address."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..storage import (
    as_place,
    is_remote,
    local_folder,
    reaching,
)

if TYPE_CHECKING:
    from ..storage import Place


def runs_root(root: str | os.PathLike | None = None) -> Place:
    """The place of all runs: ``root``, else the environment's SAP_RUNS, else ``runs`` in the working folder."""
    return as_place(root or os.environ.get("SAP_RUNS") or "runs")


def new_run_path(kind: str, root: str | os.PathLike | None = None) -> Place:
    """A path for a new run under the root, sortable by time: ``20261124-033412-capture-3f9a1c``. Nothing is made."""
    return runs_root(root) / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{kind}-{secrets.token_hex(3)}"


def resolve_run(run: str | os.PathLike, root: str | os.PathLike | None = None) -> Place:
    """The place meant by a path, by an address, or by a run id under the root."""
    if is_remote(run):
        return as_place(run)
    path = Path(run).expanduser()
    if not path.exists() and path.name == str(run):
        candidate = runs_root(root) / path.name
        with reaching(candidate):
            if candidate.exists():
                return candidate
    return path.absolute()


def check_new_run(path: str | os.PathLike) -> Place:
    """``path`` as an absolute path or address at which a run can be made; nothing is left behind by the check.

    Raises:
        InvalidInput: something is there, or the place is not writable.
        OperationFailed: the address can't be reached, or access is denied.
    """
    if not is_remote(path):
        return check_new_folder(path)
    place = as_place(path)
    with reaching(place):
        if place.exists():
            raise InvalidInput(f"Output {place} exists already; choose another, or remove it first.")
        probe = place / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    return place


def check_new_folder(path: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """``path`` as an absolute path that can be made; nothing is left behind by the check.

    Raises:
        InvalidInput: something is there (unless ``overwrite`` and it is a folder), it is not writable, or an address.
    """
    path = local_folder(path, "This output")
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
