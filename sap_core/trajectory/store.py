"""Write one trajectory: a zarr group to which steps are appended and which can be read meanwhile.

Variables, chunks and precisions are in `variables`, the reader in `reading`.
"""

from __future__ import annotations

import time
from os import PathLike
from types import TracebackType
from typing import Any, cast

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.errors import ContainsGroupError

from ..errors import OperationFailed, RunProblem, UnknownOption, required
from ..storage import storage_of, storage_path
from .quantization import encode_part, encode_rows, to_half
from .quantization_error import CodeError
from .reading import open_trajectory
from .variables import (
    ATTENTION,
    MEANS,
    PRECISIONS,
    SCALE,
    SCHEMA,
    VARIABLES,
    Variable,
    chunk_sizes,
    chunks_of,
    stored_variables,
)

__all__ = ["SCHEMA", "VARIABLES", "TrajectoryWriter", "Variable", "open_trajectory"]

FLUSH_SECONDS = 1.0  # an unfinished chunk is rewritten at most this often, so that readers lag by about a second ...
FLUSH_SHARE = 0.05  # ... and so seldom that it takes at most this share of the time


class TrajectoryWriter:
    """Writes one trajectory.

    Args:
        path: the zarr group to make, in a folder or at an address; it must not exist.
        steps: planned steps; fewer may be written (a cancelled run).
        precision: one of `PRECISIONS`, how ``received`` and ``received_masked`` are stored; readers get float32 from
            each. The bound of its error, and for 8 bits the error measured in this run, are the attribute ``storage``.
        attrs: what is known about the run (objective, model, prompt_length, mask_token_id, ...); JSON-able.
        valid, prompt: bool (position,).
        written: go on behind so many steps of a trajectory that is there.

    Raises:
        UnknownOption: no such precision.
        RunProblem: with ``written``, there is no such trajectory, or it is damaged.
        OperationFailed: the path exists or can't be written.
    """

    def __init__(
        self,
        path: str | PathLike,
        *,
        steps: int,
        layers: int,
        heads: int,
        positions: int,
        precision: str = "float32",
        attrs: dict[str, Any] | None = None,
        valid: np.ndarray | None = None,
        prompt: np.ndarray | None = None,
        written: int = 0,
    ) -> None:
        if precision not in PRECISIONS:
            raise UnknownOption("precision", precision, PRECISIONS)
        self.path = str(path)
        self.precision = precision
        self.sizes = {"step": steps, "layer": layers, "head": heads, "position": positions}
        self.chunk = chunk_sizes(steps, layers, heads, positions)
        self.written = written
        self._storage = storage_of(path)
        self._error = CodeError()
        self._buffer: list[dict[str, np.ndarray]] = []  # steps of the chunk that is being filled, as they are stored
        self._due = 0.0  # when an unfinished chunk may be written again
        self._pending: dict[str, Any] = {}
        self._layers: dict[int, dict[str, np.ndarray]] = {}  # what `write_layer` got of the current chunk of layers
        self._over_layers: np.ndarray | None = None  # sum over layers of received, while written layer by layer
        self._by_layer: dict[int, np.ndarray] = {}
        if written:
            self._reopen(stored_variables(precision))
            return
        try:
            self._group = zarr.create_group(self._storage.zarr(storage_path(path)), zarr_format=3)
            self._arrays = {
                name: self._group.create_array(
                    name,
                    shape=tuple(self.sizes[dim] for dim in variable.dims),
                    chunks=chunks_of(variable, self.sizes, self.chunk),
                    dtype=variable.dtype,
                    fill_value=variable.fill,
                    compressors=_compressor(variable),
                    dimension_names=variable.dims,
                    attributes={"units": variable.units, "long_name": variable.help},
                )
                for name, variable in stored_variables(precision).items()
            }
        except Exception as error:
            raise self._problem(error, "Choose another folder") from None
        self._put("valid", slice(None), np.ones(positions, bool) if valid is None else np.asarray(valid))
        self._put("prompt", slice(None), np.zeros(positions, bool) if prompt is None else np.asarray(prompt))
        more = {"steps_total": steps, "schema": SCHEMA, "steps_written": 0, "chunk_layers": self.chunk["layer"]}
        self._update(**(attrs or {}), **more, **self._precision())

    def _reopen(self, variables: dict[str, Variable]) -> None:
        """Take up the trajectory at the path: its arrays, and the steps of the chunk that is not full."""
        first = self.written - self.written % self.chunk["step"]
        try:
            self._group = zarr.open_group(self._storage.zarr(storage_path(self.path)), mode="r+")
            self._arrays = {name: self._group[name] for name in variables}
            for name, variable in variables.items():
                array: Any = self._arrays[name]
                shape = tuple(self.sizes[dim] for dim in variable.dims)
                expected = shape, variable.dtype, chunks_of(variable, self.sizes, self.chunk)
                if (array.shape, array.dtype, array.chunks) != expected:
                    raise ValueError(f"{name} has shape {array.shape}")
            if int(str(self._group.attrs["steps_written"])) < self.written:
                raise ValueError("steps are missing")
            kept = {
                name: np.asarray(cast("zarr.Array", self._arrays[name])[first : self.written])
                for name, variable in variables.items()
                if variable.dims[0] == "step"
            }
        except Exception as error:
            problem = self._storage.problem(error, storage_path(self.path)) if self._storage.remote else None
            raise problem or RunProblem(
                f"The trajectory at {self.path} is damaged and can't be gone on with ({error}); capture it anew."
            ) from None
        self._buffer = [{name: block[i] for name, block in kept.items()} for i in range(self.written - first)]
        self._update(steps_written=self.written)

    @property
    def code_error(self) -> list[float]:
        """What the error of 8-bit storage was measured to be so far, to hand to another writer that goes on."""
        return self._error.numbers

    @code_error.setter
    def code_error(self, numbers: list[float]) -> None:
        self._error.numbers = numbers

    def append(self, step: int, **arrays: np.ndarray) -> None:
        """Append step ``step`` (0-based, in order).

        Arrays have their variable's dims without ``step``; all are optional.

        Raises:
            ValueError: a step out of order, an unknown variable, or a wrong shape: errors of the caller, not the user.
            OperationFailed: the disk is full or was removed; the steps before it remain readable.
        """
        if step != self.written or step >= self.sizes["step"]:
            raise ValueError(f"step {step} came; expected step {self.written} of {self.sizes['step']}")
        checked = {name: self._checked(name, value) for name, value in arrays.items()}
        if "received" in checked:
            received = checked["received"]
            by_layer = received.mean(axis=1)
            checked |= dict(zip(MEANS, (by_layer, received.mean(axis=0), by_layer.mean(axis=0)), strict=True))
        self._buffer.append(self._coded(checked))
        self.written += 1
        full = len(self._buffer) == self.chunk["step"] or self.written == self.sizes["step"]
        if full or time.monotonic() >= self._due:
            self.flush()
        if full:
            self._buffer = []

    def annotate(self, **attrs: Any) -> None:
        """Set attributes at the next flush."""
        self._pending.update(attrs)

    def write_all(self, steps: int, **arrays: np.ndarray) -> None:
        """Write the first ``steps`` steps of some variables at once: arrays have all dims, ``step`` first."""
        for name, value in arrays.items():
            self._put(name, slice(0, steps), np.asarray(value))

    def write_layer(self, layer: int, steps: int, **arrays: np.ndarray) -> None:
        """Write one layer of the first ``steps`` steps: arrays are (step, head[, position]). Layers come in order."""
        if "received" in arrays:
            received = np.asarray(arrays["received"], np.float32)
            self._by_layer[layer] = received.mean(axis=1)
            self._over_layers = received.copy() if self._over_layers is None else self._over_layers + received
        self._layers[layer] = self._coded(arrays)
        if (layer + 1) % self.chunk["layer"] == 0 or layer + 1 == self.sizes["layer"]:
            self._put_layers(steps)

    def mark(self, steps: int, **attrs: Any) -> None:
        """Make the first ``steps`` steps visible to readers, after `write_all` and `write_layer`."""
        self._put_layers(steps)
        if len(self._by_layer) == self.sizes["layer"]:
            by_layer = np.stack([self._by_layer[layer] for layer in range(self.sizes["layer"])], axis=1)
            over_layers = required(self._over_layers, "the sum over layers") / self.sizes["layer"]
            self.write_all(steps, **dict(zip(MEANS, (by_layer, over_layers, by_layer.mean(axis=1)), strict=True)))
        self.written = steps
        self._update(steps_written=steps, **self._precision(), **attrs)

    def flush(self) -> None:
        """Write what is buffered; readers see every appended step afterwards."""
        begun = time.monotonic()
        if self._buffer:
            first = self.written - len(self._buffer)
            for name in self._buffer[-1]:
                block = np.stack([arrays[name] for arrays in self._buffer])
                self._put(name, slice(first, self.written), block)
        self._update(steps_written=self.written, **self._precision(), **self._pending)
        self._pending = {}
        ended = time.monotonic()
        self._due = ended + max(FLUSH_SECONDS, (ended - begun) / FLUSH_SHARE)

    def close(self, **attrs: Any) -> None:
        """Flush, and set attributes that are known only at the end (such as ``pieces``)."""
        self.flush()
        if attrs:
            self._update(**attrs)

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception:
            if error is None:  # else what ended the work is what counts
                raise

    def _put_layers(self, steps: int) -> None:
        if not self._layers:
            return
        where = sorted(self._layers)
        for name in self._layers[where[0]]:
            block = np.stack([self._layers[layer][name] for layer in where], axis=1)
            self._put(name, (slice(0, steps), slice(where[0], where[-1] + 1)), block)
        self._layers = {}

    def _checked(self, name: str, value: np.ndarray) -> np.ndarray:
        variable = VARIABLES.get(name)
        if variable is None or variable.dims[0] != "step":
            raise ValueError(f"no variable '{name}' with a step dimension")
        value = np.asarray(value, dtype=variable.dtype)
        shape = tuple(self.sizes[dim] for dim in variable.dims[1:])
        if value.shape != shape:
            raise ValueError(
                f"{name} has shape {value.shape}; expected {dict(zip(variable.dims[1:], shape, strict=True))}"
            )
        return value

    def _coded(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the arrays as they are stored; attention is encoded here, so that the buffer is small too."""
        if self.precision == "float32":
            return arrays
        if self.precision == "float16":
            return {name: to_half(value) if name in ATTENTION else value for name, value in arrays.items()}
        stored = dict(arrays)
        if "received" in arrays:
            stored["received"], stored[SCALE] = encode_rows(arrays["received"])
            self._error.add(arrays["received"], stored["received"], stored[SCALE])
        if "received_masked" in arrays:
            stored["received_masked"] = encode_part(arrays["received_masked"], arrays["received"])
        return stored

    def _precision(self) -> dict[str, Any]:
        storage = {"precision": self.precision, "error": PRECISIONS[self.precision].error}
        return {"storage": storage | self._error.to_dict()}

    def _put(self, name: str, where: Any, value: np.ndarray) -> None:
        try:
            self._arrays[name][where] = value
        except Exception as error:
            raise self._problem(error, "Free some space; the steps written before it are kept") from None

    def _update(self, **attrs: Any) -> None:
        try:
            self._group.update_attributes(attrs)
        except Exception as error:
            raise self._problem(error, "Free some space and run again") from None

    def _problem(self, error: Exception, hint: str) -> Exception:
        """Return the one-line error for what a disk or a store refused; any other exception is returned unchanged."""
        if self._storage.remote:
            return self._storage.problem(error, storage_path(self.path)) or error
        if isinstance(error, (OSError, ContainsGroupError)):
            return OperationFailed(f"Can't write a trajectory at {self.path}: {error}. {hint}.")
        return error


def _compressor(variable: Variable) -> Any:
    """Return the codec of a variable: LZ4 on shuffled bytes for attention, zstd for the rest.

    Attention hardly compresses, so its codec must be fast.
    """
    if variable.dtype in ("float32", "float16") and variable.dims[-1] == "position":
        return BloscCodec(cname="lz4", clevel=1, shuffle="shuffle", typesize=np.dtype(variable.dtype).itemsize)
    return "auto"
