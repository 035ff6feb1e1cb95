"""Convert what a user gives, a text or a path, to a `StoragePath`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..errors import InvalidInput

if TYPE_CHECKING:
    from upath import UPath

    StoragePath = Path  # an address is a UPath, which answers to the same calls; type checkers see the one type

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


def is_remote(path: str | os.PathLike | UPath) -> bool:
    """Return whether this is an address, not a path on this machine; a text is one if it contains ``://``."""
    text = str(path)
    return "://" in text and not text.startswith(("file://", "local://"))


def storage_path(path: str | os.PathLike | UPath) -> StoragePath:
    """Return the absolute path of a folder or file, or the address.

    Raises:
        InvalidInput: no path at all, or an address whose file system is unknown or whose package is not installed.
    """
    if "\0" in str(path):
        raise InvalidInput(f"{str(path)!r} holds a zero byte, which no path can; give another.")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{str(path)!a} is no Unicode text; a name that runs and reports can hold is.") from None
    if not is_remote(path):
        return Path(str(path).removeprefix("file://").removeprefix("local://")).expanduser().absolute()
    if not isinstance(path, str):
        return cast(Path, path)
    protocol = path.split("://")[0]
    try:
        from upath import UPath
    except ImportError:
        raise InvalidInput(
            f"{path} is an address, which needs more packages: pip install 'sap-studio[remote]'."
        ) from None
    try:
        # Listings are not cached: another machine may be writing there.
        result = UPath(path.rstrip("/"), use_listings_cache=False)
        result.fs  # noqa: B018  made here, so that a missing package is reported before any work
    except ImportError as error:
        package = PACKAGES.get(protocol)
        hint = f"pip install {package}" if package else f"install the package it needs ({error})"
        raise InvalidInput(f"{path}: {hint} to use {protocol}:// addresses.") from None
    except ValueError:
        raise InvalidInput(
            f"{path}: '{protocol}' is no file system that fsspec knows; use a folder, s3://, gs://, az:// or another."
        ) from None
    return cast(Path, result)


def local_folder(path: str | os.PathLike, what: str) -> Path:
    """Return ``path`` if it is a path on this machine.

    Raises:
        InvalidInput: it is an address.
    """
    if is_remote(path):
        raise InvalidInput(f"{what} needs a folder on this machine; {path} is an address.")
    return storage_path(path)
