"""Copy a run made in a folder of this machine to an address when it is closed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage import remote_errors, storage_of
from .manifest import MANIFEST, SPEC
from .paths import check_new_run

if TYPE_CHECKING:
    from ..storage.paths import StoragePath


def publish(folder: Path, target: StoragePath) -> None:
    """Copy a closed run to an address, its manifest last: until then it is unfinished there.

    Raises:
        InvalidInput: something is there.
        OperationFailed: the address can't be reached or written.
    """
    names = [name for name in storage_of(folder).sizes(folder) if name not in (SPEC, MANIFEST)]
    storage_of(target).create_folder(target, SPEC, (folder / SPEC).read_bytes())
    with remote_errors(target):
        remote: Any = target  # an address: a UPath, with a file system of its own
        remote.fs.put([str(folder / name) for name in names], [f"{remote.path}/{name}" for name in names])
        remote.fs.put_file(str(folder / MANIFEST), f"{remote.path}/{MANIFEST}")


@contextmanager
def made_here(target: StoragePath) -> Iterator[Path]:
    """Yield a local folder to make a run in, which is copied to ``target`` afterwards, finished or not.

    For work that renames folders or maps files, which an object store does not support.

    Raises:
        InvalidInput, OperationFailed: as `check_new_run`.
    """
    check_new_run(target)
    with tempfile.TemporaryDirectory(prefix="sap-run-") as near:
        folder = Path(near) / target.name
        try:
            yield folder
        finally:
            if (folder / MANIFEST).exists():
                publish(folder, target)
