"""Where things are kept: a folder of this machine, or an address of any file system that fsspec knows.

A place is a `pathlib.Path` for a folder and a `upath.UPath` for an address such as s3://bucket/runs or gs://bucket/runs;
both answer to the same calls. Packages for addresses come with the extra ``remote`` and are imported when one is used.
Credentials and endpoints are each file system's own business: for S3 the usual AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and ~/.aws; for others fsspec's configuration (FSSPEC_GCS_TOKEN, ...).

An object store has no folders and no rename: a run there is complete when its manifest is there, which is written last;
an upload shows whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InvalidInput, OperationFailed, SapError

if TYPE_CHECKING:
    from upath import UPath

    Place = Path | UPath

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


def is_remote(place: str | os.PathLike) -> bool:
    """Whether this is an address, not a folder of this machine. A text counts by its ``://``."""
    text = str(place)
    return "://" in text and not text.startswith(("file://", "local://"))


def as_place(place: str | os.PathLike) -> Place:
    """The absolute path of a folder, or the address.

    Raises:
        InvalidInput: an address whose file system is unknown, or whose package is not installed.
    """
    if not is_remote(place):
        return Path(str(place).removeprefix("file://").removeprefix("local://")).expanduser().absolute()
    if not isinstance(place, str):
        return place
    protocol = place.split("://")[0]
    try:
        from upath import UPath
    except ImportError:
        raise InvalidInput(f"{place} is an address; install what reads it: pip install 'sap-studio[remote]'.") from None
    try:
        # Listings are not remembered: another machine may be writing there.
        found = UPath(place.rstrip("/"), use_listings_cache=False)
        found.fs  # noqa: B018  made here, so that a missing package is told before any work
    except ImportError as error:
        package = PACKAGES.get(protocol)
        hint = f"pip install {package}" if package else f"install the package it needs ({error})"
        raise InvalidInput(f"{place}: {hint} to use {protocol}:// addresses.") from None
    except ValueError:
        raise InvalidInput(
            f"{place}: '{protocol}' is no file system that fsspec knows; use a folder, s3://, gs://, az:// or another."
        ) from None
    return found


def local_folder(place: str | os.PathLike, what: str) -> Path:
    """``place`` where only a folder of this machine will do. Raises InvalidInput for an address, in one line."""
    if is_remote(place):
        raise InvalidInput(f"{what} needs a folder on this machine; {place} is an address.")
    return as_place(place)


def zarr_store(place: str | os.PathLike) -> Any:
    """What zarr opens for a place."""
    if not is_remote(place):
        return str(place)
    from zarr.storage import FsspecStore

    found = as_place(place)
    return FsspecStore.from_url(str(found), storage_options=dict(found.storage_options))


@contextmanager
def reaching(place: str | os.PathLike) -> Iterator[None]:
    """Whatever a remote file system raises inside becomes its one-line error; for a folder nothing changes."""
    try:
        yield
    except SapError:
        raise
    except Exception as error:
        if not is_remote(place):
            raise
        raise place_problem(error, place) from None


def file_sizes(folder: Place) -> dict[str, int]:
    """Name relative to ``folder`` -> bytes of every file below it, sorted; one listing where it is an address."""
    if not is_remote(folder):
        found = {}
        for parent, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(parent, name)
                if os.path.isfile(path):
                    found[os.path.relpath(path, folder).replace(os.sep, "/")] = os.path.getsize(path)
        return dict(sorted(found.items()))
    with reaching(folder):
        listed = folder.fs.find(folder.path, detail=True)
    return {name[len(folder.path) :].strip("/"): int(info["size"]) for name, info in sorted(listed.items())}


def place_problem(error: BaseException, place: str | os.PathLike) -> SapError:
    """The one-line error for an address that can't be read or written, whatever its file system raised."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, PermissionError):
        return OperationFailed(f"{place}: access denied ({text}); check the credentials and the bucket's policy.")
    if isinstance(error, FileNotFoundError):
        return OperationFailed(f"{place}: {text}; check that the bucket exists.")
    return OperationFailed(f"{place} can't be reached: {text}; check the address, the endpoint and the network.")
