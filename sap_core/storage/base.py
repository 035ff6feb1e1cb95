"""The operations that differ between a folder on this machine and an address."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SapError

if TYPE_CHECKING:
    from .paths import StoragePath


class Storage(ABC):
    """Files and folders of one kind of storage. Instances hold no state; paths are absolute.

    Attributes:
        remote: every look is a request over the network, there are no folders, locks and renames.
        requests_at_once: how many looks to have under way at a time.
    """

    remote: bool
    requests_at_once: int

    @abstractmethod
    def read(self, path: StoragePath, limit: int) -> bytes | None:
        """Return the content of a file, or None if there is none.

        Raises:
            InvalidInput: no regular file, unreadable, or larger than ``limit`` bytes.
            OperationFailed: an address that can't be reached.
        """

    @abstractmethod
    def write(self, path: StoragePath, content: bytes) -> None:
        """Write a file in one step: a reader sees the old content or the new one, never a part.

        Raises:
            OperationFailed: the disk is full, or the storage refuses; nothing half-written stays behind.
        """

    @abstractmethod
    def check_new(self, path: StoragePath) -> None:
        """Raise InvalidInput unless a new folder can be created at ``path``; leave nothing behind."""

    @abstractmethod
    def create_folder(self, path: StoragePath, name: str, content: bytes) -> None:
        """Create the folder ``path``, which no other process can create at the same time, with one file in it.

        Raises:
            InvalidInput: something is there.
            OperationFailed: the storage refuses.
        """

    @abstractmethod
    def make_folder(self, path: StoragePath) -> None:
        """Create a folder and its parents if the storage has folders."""

    @abstractmethod
    def remove(self, folder: StoragePath, *, first: Collection[str] = (), last: Collection[str] = ()) -> None:
        """Remove a folder with everything in it.

        Args:
            folder: What to remove.
            first: Names of files to remove before the others, if this is not one step.
            last: Names of files to remove after the others, if this is not one step.

        Raises:
            InvalidInput: it was removed already.
            OperationFailed: the storage refuses.
        """

    @abstractmethod
    def stamp(self, path: StoragePath) -> tuple[int | str, int]:
        """Return a value that changes whenever a file does: its time or ETag, and its bytes; (0, 0) without a file."""

    @abstractmethod
    def modified(self, path: StoragePath) -> float:
        """Return when a file was last written in seconds since 1970, or 0 if there is none."""

    @abstractmethod
    def clock(self, path: StoragePath) -> float:
        """Return the time of the storage itself in seconds since 1970, as `modified` counts it."""

    @abstractmethod
    def sizes(self, folder: StoragePath) -> dict[str, int]:
        """Return the bytes of every file below ``folder`` by its relative name, sorted by name."""

    @abstractmethod
    def digests(self, folder: StoragePath, sizes: Mapping[str, int]) -> Iterator[tuple[str, str]]:
        """Yield (name, SHA-256) of the named files below ``folder``."""

    @abstractmethod
    def local_copy(self, folder: StoragePath, near: Path) -> AbstractContextManager[Path]:
        """Provide ``folder`` on this machine: itself, or a copy below ``near`` that is removed afterwards."""

    @abstractmethod
    def zarr(self, path: StoragePath) -> Any:
        """Return the store of a path, as zarr opens it."""

    @abstractmethod
    def problem(self, error: BaseException, path: StoragePath) -> SapError | None:
        """Return the one-line error for an exception of the storage itself; None for any other exception."""
