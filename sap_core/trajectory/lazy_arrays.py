"""Arrays whose values are converted when they are read, through xarray's interface for storage backends."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing


class ConvertedArray(BackendArray):
    """An array on disk whose values a subclass's ``read`` converts to float32, in which they can be summed."""

    def __init__(self, stored: xr.Variable) -> None:
        self._stored = stored
        self.shape = stored.shape
        self.dtype = np.dtype(np.float32)

    def read(self, key: tuple) -> np.ndarray:
        """Return the values at ``key``, a tuple of integers and slices."""
        raise NotImplementedError

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self.read)


def lazily(array: BackendArray) -> Any:
    """Return ``array`` as the data of a variable that reads nothing until it is used."""
    return indexing.LazilyIndexedArray(array)
