"""A sweep as a table, during or after its run. One row per cell; no torch here."""

from __future__ import annotations

import math
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..csv_files import csv_bytes
from ..errors import RunProblem
from ..runs.documents import read_document
from ..sinks.intervals import Ratio, joint_half, ratio_interval
from ..specs import CalibrationOptions, ModelOptions, PruneSpec
from .documents import SweepDocument
from .folder import SweepFolder
from .grid import DENSE

FIRST = ("id", "state", "method", "pattern", "sparsity", "seed")
MEASURED = (
    "found_sparsity",
    "nats_per_token",
    "standard_error",
    "perplexity",
    "kind",
    "difference",
    "difference_error",
    "kl",
    "kl_error",
    "texts",
    "parameters",
    "nonzero_parameters",
    "bytes",
    "tokens_per_second",
    "speedup",
    "speedup_low",
    "speedup_high",
    "seconds",
    "error",
)
SPEED = ("speedup", "speedup_low", "speedup_high")
_TASK = "task_"
_ALWAYS = 10  # of `MEASURED`: columns that every table has
# Settings that all cells share, and what says nothing about one: left out of the table.
_NO_KEYS = {"id", "state", "seed", *MEASURED}
_SHARED = {*ModelOptions.model_fields, *CalibrationOptions.model_fields, "kind", "name"}


def sweep_table(folder: str | os.PathLike) -> pd.DataFrame:
    """Return one row per cell, the dense model first; readable at any time.

    Columns: id, state (finished, failed, waiting), the fields of the cell's pruning (method, pattern, sparsity, seed
    ...), found_sparsity (in the weights), nats_per_token with standard_error, perplexity, difference (to the dense
    model, nats per token, text by text on the same masks) with difference_error, kl (from the dense model, on the same
    masks) with kl_error, task_NAME where tasks were asked, parameters, nonzero_parameters, bytes, speedup with its 95 %
    interval where asked, seconds, error. Missing values are NaN.

    Raises:
        RunProblem: no sweep there.
    """
    sweep = SweepFolder(folder)
    document = read_document(sweep.path / "sweep.json", SweepDocument)
    if document is None:
        raise RunProblem(f"{folder} holds no sweep (no sweep.json); `sap sweep --out DIR` makes one.")
    dense, failures = sweep.record(DENSE), sweep.failures()
    rows, options, tasks = [], {}, {}
    for cell in document["cells"]:
        fields = _fields(cell["spec"])
        cells = _row(cell["id"], fields, sweep.record(cell["id"]), failures.get(cell["id"]), dense)
        options |= dict.fromkeys(name for name in fields if name not in FIRST)
        tasks |= dict.fromkeys(name for name in cells if name.startswith(_TASK))
        rows.append(cells)
    measured = [name for name in MEASURED if any(name in cells for cells in rows) or name in MEASURED[:_ALWAYS]]
    return pd.DataFrame(rows, columns=[*FIRST, *options, *measured[:_ALWAYS], *tasks, *measured[_ALWAYS:]])


def write_table(folder: str | os.PathLike) -> pd.DataFrame:
    """Return `sweep_table`, and write it to table.csv and table.parquet, each atomically."""
    table, folder = sweep_table(folder), Path(folder)
    for name, write in (("table.csv", _csv), ("table.parquet", _parquet)):
        temporary = folder / f".{name}.{uuid.uuid4().hex[:8]}"
        try:
            write(table, temporary)
            os.replace(temporary, folder / name)
        finally:
            temporary.unlink(missing_ok=True)
    return table


def summarise(table: pd.DataFrame, value: str = "difference", error: str | None = "difference_error") -> pd.DataFrame:
    """Return the mean of ``value`` over seeds, with a 95 % interval; one row per combination of what was pruned.

    The interval joins two sources: the spread between seeds, and the standard error over texts (``error``, a column of
    the table or None), which are the same for all seeds, so that their error does not shrink with the number of seeds.
    One seed: the texts' alone; without an error, none. A task's score stays within 0 and 1.

    Returns:
        Columns method, pattern, sparsity ..., seeds (how many), mean, low, high (NaN where there is no interval).
    """
    done = table[(table["state"] == "finished") & table["method"].notna()]
    keys = [name for name in table.columns if name not in _NO_KEYS and not name.startswith(_TASK)]
    bounds = (0.0, 1.0) if value.startswith(_TASK) else (-math.inf, math.inf)
    rows = []
    for combination, group in done.groupby(keys, dropna=False, sort=False):
        group = group[group[value].notna()]
        if not len(group):
            continue
        texts = None if error is None else (float(group[error].astype(float).mean()), int(group["texts"].iloc[0]))
        found = seeds_interval(group[value].to_numpy(float), texts, bounds)
        rows.append(dict(zip(keys, combination, strict=True)) | {"seeds": len(group)} | found)
    return pd.DataFrame(rows, columns=[*keys, "seeds", "mean", "low", "high"])


def seeds_interval(
    values: np.ndarray, texts: tuple[float, int] | None, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> dict[str, float]:
    """Return {"mean", "low", "high"} of values by seed.

    Args:
        values: [seeds].
        texts: (standard error over the texts that all seeds share, how many they are); None: not to be included.
        bounds: The interval is cut to these.
    """
    sources = [] if texts is None else [(texts[0], texts[1] - 1)]
    if len(values) > 1:
        sources.append((float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1))
    mean, half = float(values.mean()), joint_half(*sources) if sources else math.nan
    low, high = np.clip([mean - half, mean + half], *bounds)
    return {"mean": mean, "low": float(low), "high": float(high)}


def paired_difference(a: dict[str, Any], b: dict[str, Any]) -> Ratio:
    """Return the nats per token of record ``a`` minus ``b``, text by text, with the error over texts.

    Records are those of `SweepFolder.record`, of cells of one sweep.
    """
    counted = np.asarray(a["quality"]["counted"], float)
    apart = np.asarray(a["quality"]["nats"], float) - np.asarray(b["quality"]["nats"], float)
    return ratio_interval(apart, counted)


def _row(
    cell: str, fields: dict[str, Any], record: dict[str, Any] | None, error: str | None, dense: dict[str, Any] | None
) -> dict[str, Any]:
    state = "finished" if record else "failed" if error else "waiting"
    cells: dict[str, Any] = {"id": cell, "state": state, **fields}
    if record is not None:
        quality = record["quality"]
        nats, counted = np.asarray(quality["nats"], float), np.asarray(quality["counted"], float)
        own = ratio_interval(nats, counted, at_least=0.0)
        cells["found_sparsity"] = record["pruning"].get("sparsity", 0.0)
        cells |= {
            "nats_per_token": own.value,
            "standard_error": _or_nan(own.error),
            "perplexity": math.exp(min(own.value, 700.0)),
        }
        cells |= {"kind": quality["kind"], "texts": len(counted)}
        if dense is not None:
            change = paired_difference(record, dense)
            cells["difference"], cells["difference_error"] = change.value, _or_nan(change.error)
        if quality.get("kl") is not None:
            moved = ratio_interval(quality["kl"], counted)
            cells["kl"], cells["kl_error"] = moved.value, _or_nan(moved.error)
        cells |= _task_columns(quality.get("tasks"))
        for name in ("parameters", "nonzero_parameters", "bytes", "tokens_per_second", *SPEED):
            if name in quality:
                cells[name] = quality[name]
        cells["seconds"] = record["seconds"]
    cells["error"] = error
    return cells


def _task_columns(tasks: dict[str, Any] | None) -> dict[str, float]:
    columns = {}
    for name, found in (tasks or {}).items():
        if name == "infilling":
            columns |= {f"{task}_infilled": value for task, value in _task_columns(found).items()}
        else:
            columns[_TASK + name] = found["score"]
    return columns


def _fields(spec: dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields that tell cells apart: the main settings, and every other one that is not at its default."""
    defaults = {name: field.default for name, field in PruneSpec.model_fields.items()}
    return {
        name: value
        for name, value in (spec or {}).items()
        if name not in _SHARED and (name in FIRST or value != defaults.get(name))
    }


def _or_nan(error: float | None) -> float:
    return math.nan if error is None else error


def _csv(table: pd.DataFrame, path: Path) -> None:
    path.write_bytes(csv_bytes(table))


def _parquet(table: pd.DataFrame, path: Path) -> None:
    table.to_parquet(path, index=False)
