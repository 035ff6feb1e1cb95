"""A zarr store that reads only what a run's manifest lists, and checks each chunk when it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from ..errors import RunProblem

Files = Mapping[str, Sequence[Any]]  # path -> (bytes, SHA-256)


class CheckedStore(WrapperStore):
    """A store whose metadata and chunks are compared with a manifest.

    Args:
        store: what holds the bytes.
        files: path relative to the store -> (bytes, SHA-256) of everything in it.
        where: the store's path, for errors.
    """

    def __init__(self, store: Store, files: Files | None = None, where: str = "") -> None:
        super().__init__(store)
        self._files, self._where = files or {}, where

    def _with_store(self, store: Store) -> CheckedStore:
        return type(self)(store, self._files, self._where)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return the bytes under a key, or None if the manifest does not list it.

        Raises:
            RunProblem: they are missing, or are not those that the manifest lists.
        """
        expected = self._files.get(key)
        if expected is None:
            return None
        whole = await self._store.get(key, prototype)
        if whole is None:
            raise RunProblem(f"{self._where} is truncated: {key} is missing; run it again from its spec.json.")
        content = whole.to_bytes()
        if len(content) != expected[0] or hashlib.sha256(content).hexdigest() != expected[1]:
            raise RunProblem(
                f"{self._where} is damaged: {key} is not what was written; run it again from its spec.json. "
                "`sap runs check` looks through all runs."
            )
        return whole if byte_range is None else await self._store.get(key, prototype, byte_range)

    async def get_partial_values(self, prototype: BufferPrototype, key_ranges: Any) -> list[Buffer | None]:
        """Return the bytes under several keys."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Return whether the manifest lists the key."""
        return key in self._files and await self._store.exists(key)

    async def _get_many(self, requests: Any) -> Any:
        for key, prototype, byte_range in requests:
            yield key, await self.get(key, prototype, byte_range)
