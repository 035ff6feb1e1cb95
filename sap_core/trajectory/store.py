"""One trajectory on disk: a zarr group that is appended step by step and can be read while it grows.

Variables and their dims are listed in `VARIABLES`. Chunks hold all heads and positions of ONE layer over a few steps,
so that drawing a layer never reads the others, and a long run is not a million files.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import xarray as xr
import zarr
from xarray.backends import BackendArray
from xarray.core import indexing

from ..errors import OperationFailed, RunProblem

SCHEMA = 1
CHUNK_BYTES = 2 * 2**20  # aimed at, uncompressed; measured: smaller chunks are slower to read by their number
CHUNK_STEPS = 32
FLUSH_SECONDS = 1.0  # an unfinished chunk is rewritten at most this often, so that readers lag by about a second ...
FLUSH_SHARE = 0.05  # ... and so seldom that it takes at most this share of the time


@dataclass(frozen=True)
class Variable:
    """One row of the table of variables."""

    dims: tuple[str, ...]
    dtype: str
    fill: Any
    units: str
    help: str


_HEADS = ("step", "layer", "head")
_TOKENS = ("step", "position")

VARIABLES: dict[str, Variable] = {
    "received": Variable(
        (*_HEADS, "position"), "float32", np.nan, "share", "attention received, mean over the valid queries; sums to 1"
    ),
    "received_masked": Variable(
        (*_HEADS, "position"), "float32", np.nan, "share", "the part of it that comes from still masked queries"
    ),
    "entropy": Variable(_HEADS, "float32", np.nan, "nats", "entropy of an attention row, mean over the valid queries"),
    "distance": Variable(_HEADS, "float32", np.nan, "positions", "mean of |query - key| under attention"),
    "token": Variable(_TOKENS, "int32", -1, "id", "the tokens the forward of this step saw"),
    "next_token": Variable(_TOKENS, "int32", -1, "id", "the tokens after this step"),
    "masked": Variable(_TOKENS, "bool", False, "", "still masked (autoregressive: not written) when the step began"),
    "accepted": Variable(_TOKENS, "bool", False, "", "written at this step"),
    "confidence": Variable(_TOKENS, "float32", np.nan, "share", "probability of the predicted token; NaN where none"),
    "valid": Variable(("position",), "bool", True, "", "False at padding"),
    "prompt": Variable(("position",), "bool", False, "", "given, not generated"),
}


class TrajectoryWriter:
    """Writes one trajectory.

    Args:
        path: the zarr group to make; it must not exist.
        steps: planned steps; fewer may be written (a cancelled run).
        precision: "float32" or "float16", how ``received`` and ``received_masked`` are stored. float16 rounds a share
            by at most 2^-11 of itself (below 6e-5: by at most 3e-8); readers get float32 in either case.
        attrs: what is known about the run (objective, model, prompt_length, mask_token_id, ...); JSON-able.
        valid, prompt: bool (position,).

    Raises:
        OperationFailed: the path exists or can't be written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        steps: int,
        layers: int,
        heads: int,
        positions: int,
        precision: str = "float32",
        attrs: dict[str, Any] | None = None,
        valid: np.ndarray | None = None,
        prompt: np.ndarray | None = None,
    ) -> None:
        self.path = str(path)
        self.sizes = {"step": steps, "layer": layers, "head": heads, "position": positions}
        self.chunk_steps = int(np.clip(CHUNK_BYTES // (4 * heads * positions), 1, min(CHUNK_STEPS, max(steps, 1))))
        self.written = 0
        self._buffer: list[dict[str, np.ndarray]] = []  # steps of the chunk that is being filled
        self._due = 0.0  # when an unfinished chunk may be written again
        self._pending: dict[str, Any] = {}
        try:
            self._group = zarr.create_group(self.path, zarr_format=3)
            self._arrays = {
                name: self._group.create_array(
                    name,
                    shape=tuple(self.sizes[dim] for dim in row.dims),
                    chunks=tuple(self._chunk(dim) for dim in row.dims),
                    dtype="float16" if _is_half(name, precision) else row.dtype,
                    fill_value=row.fill,
                    dimension_names=row.dims,
                    attributes={"units": row.units, "long_name": row.help},
                )
                for name, row in VARIABLES.items()
            }
        except (OSError, ValueError) as error:
            raise OperationFailed(f"Can't write a trajectory at {self.path}: {error}. Choose another folder.") from None
        self._put("valid", slice(None), np.ones(positions, bool) if valid is None else np.asarray(valid))
        self._put("prompt", slice(None), np.zeros(positions, bool) if prompt is None else np.asarray(prompt))
        self._update(**(attrs or {}), steps_total=steps, schema=SCHEMA, steps_written=0)

    def append(self, step: int, **arrays: np.ndarray) -> None:
        """Add step ``step`` (0-based, in order). Arrays have their variable's dims without ``step``; all are optional.

        Raises:
            ValueError: a step out of order, an unknown variable, or a wrong shape: errors of the caller, not the user.
            OperationFailed: the disk is full or went away; the steps before it stay readable.
        """
        if step != self.written or step >= self.sizes["step"]:
            raise ValueError(f"step {step} came; expected step {self.written} of {self.sizes['step']}")
        self._buffer.append({name: self._checked(name, value) for name, value in arrays.items()})
        self.written += 1
        full = len(self._buffer) == self.chunk_steps or self.written == self.sizes["step"]
        if full or time.monotonic() >= self._due:
            self.flush()
        if full:
            self._buffer = []

    def annotate(self, **attrs: Any) -> None:
        """Set attributes at the next flush."""
        self._pending.update(attrs)

    def write_all(self, steps: int, **arrays: np.ndarray) -> None:
        """Put the first ``steps`` steps of some variables at once: arrays have all dims, ``step`` first."""
        for name, value in arrays.items():
            self._put(name, slice(0, steps), np.asarray(value))

    def write_layer(self, layer: int, steps: int, **arrays: np.ndarray) -> None:
        """Put one layer of the first ``steps`` steps: arrays are (step, head[, position])."""
        for name, value in arrays.items():
            self._put(name, (slice(0, steps), layer), np.asarray(value))

    def mark(self, steps: int, **attrs: Any) -> None:
        """Make the first ``steps`` steps visible to readers, after `write_all` and `write_layer`."""
        self.written = steps
        self._update(steps_written=steps, **attrs)

    def flush(self) -> None:
        """Write what is buffered; readers see every appended step afterwards."""
        begun = time.monotonic()
        if self._buffer:
            first = self.written - len(self._buffer)
            for name in self._buffer[-1]:
                block = np.stack([arrays[name] for arrays in self._buffer])
                self._put(name, slice(first, self.written), block)
        self._update(steps_written=self.written, **self._pending)
        self._pending = {}
        ended = time.monotonic()
        self._due = ended + max(FLUSH_SECONDS, (ended - begun) / FLUSH_SHARE)

    def close(self, **attrs: Any) -> None:
        """Flush, and set attributes that are known only now (such as ``pieces``)."""
        self.flush()
        if attrs:
            self._update(**attrs)

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chunk(self, dim: str) -> int:
        return {"step": self.chunk_steps, "layer": 1}.get(dim, self.sizes[dim])

    def _checked(self, name: str, value: np.ndarray) -> np.ndarray:
        row = VARIABLES.get(name)
        if row is None or row.dims[0] != "step":
            raise ValueError(f"no variable '{name}' with a step dimension")
        value = np.asarray(value, dtype=row.dtype)
        shape = tuple(self.sizes[dim] for dim in row.dims[1:])
        if value.shape != shape:
            raise ValueError(f"{name} has shape {value.shape}; expected {dict(zip(row.dims[1:], shape, strict=True))}")
        return value

    def _put(self, name: str, where: Any, value: np.ndarray) -> None:
        try:
            self._arrays[name][where] = value
        except OSError as error:
            raise OperationFailed(
                f"Can't write to {self.path}: {error}. Free some space; the steps written before it are kept."
            ) from None

    def _update(self, **attrs: Any) -> None:
        try:
            self._group.update_attributes(attrs)
        except OSError as error:
            raise OperationFailed(f"Can't write to {self.path}: {error}. Free some space and run again.") from None


def open_trajectory(path: str | Path) -> xr.Dataset:
    """The trajectory at ``path``, lazily: nothing is read before it is used, and only the chunks it lies in.

    While it is being written this shows the steps written so far (attribute ``steps_written`` of ``steps_total``).

    Raises:
        RunProblem: nothing there, not a trajectory, or one made by a newer version.
    """
    try:
        found = xr.open_zarr(str(path), consolidated=False, chunks=None, mask_and_scale=False)
    except (OSError, ValueError, KeyError) as error:
        raise RunProblem(
            f"No trajectory at {path}: {type(error).__name__}. Capture again, or check the path."
        ) from None
    schema = found.attrs.get("schema")
    if schema is None or "received" not in found:
        raise RunProblem(f"{path} is not a trajectory, or its first step is not written yet.")
    if schema > SCHEMA:
        raise RunProblem(
            f"{path} has trajectory format {schema}; this version reads up to {SCHEMA}. Update sap-studio."
        )
    for name in ("received", "received_masked"):
        if found[name].dtype == np.float16:
            found[name] = found[name].dims, _as_float32(found[name].variable), found[name].attrs
    found = found.assign_coords({dim: np.arange(size) for dim, size in found.sizes.items()})
    return found.isel(step=slice(0, int(found.attrs["steps_written"])))


def _is_half(name: str, precision: str) -> bool:
    return precision == "float16" and name in ("received", "received_masked")


def _as_float32(variable: xr.Variable) -> indexing.LazilyIndexedArray:
    return indexing.LazilyIndexedArray(_Float32(variable))


class _Float32(BackendArray):
    """A half precision array on disk, read as float32 where it is read; sums in half precision would be worthless."""

    def __init__(self, stored: xr.Variable) -> None:
        self._stored = stored
        self.shape = stored.shape
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple) -> np.ndarray:
        return self._stored[key].values.astype(np.float32)
