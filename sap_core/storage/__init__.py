"""Storage of runs: a folder on this machine, or an address of any file system that fsspec supports.

A `StoragePath` is a `pathlib.Path` for a folder and a `upath.UPath` for an address such as s3://bucket/runs or
gs://bucket/runs; both have the same methods. Operations that differ are methods of a `Storage`, which `storage_of`
finds for a path. Packages for addresses come with the extra ``remote`` and are imported when one is used. Credentials
and endpoints are configured as each file system does: for S3 the usual AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL and ~/.aws; for others fsspec's configuration (FSSPEC_GCS_TOKEN, ...).

An object store has no folders and no rename: a run there is complete when its manifest is there, which is written last;
an upload appears whole or not at all.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .base import Storage
from .local import LocalStorage, disk_problem
from .paths import is_remote, local_folder, storage_path
from .remote import RemoteStorage, remote_errors
from .space import check_space

if TYPE_CHECKING:
    from upath import UPath

__all__ = [
    "Storage",
    "check_space",
    "disk_problem",
    "is_remote",
    "local_folder",
    "remote_errors",
    "storage_of",
    "storage_path",
]

_LOCAL, _REMOTE = LocalStorage(), RemoteStorage()


def storage_of(path: str | os.PathLike | UPath) -> Storage:
    """Return the storage that a path or an address belongs to."""
    return _REMOTE if is_remote(path) else _LOCAL
