"""A long run on disk: 256 steps x 32 layers x 32 heads x 1024 positions, 1 GiB of attention in float32.

For each precision: how long writing takes, what it weighs, the error it makes, and how long the pages' slices take to
read, first time (after `open_trajectory`, files in the page cache of the system) and in how many bytes of chunks; then
the bytes of the figures. Prints a markdown table; a minute or two on two cores, and 2.5 GB of disk at a time.

    python benchmarks/trajectory.py                  # everything
    python benchmarks/trajectory.py --steps 32       # an eighth of it
    python benchmarks/trajectory.py --folder /data   # where to write; default: the system's temporary folder

The attention is made up: a sink that wanders, on a floor that is log-normal over positions and different in every
step, layer and head, so that it compresses no better than the real thing. Seconds of the processor stand beside the
seconds that passed: where they differ much, something else was running.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sap_core.plots.heatmap import trajectory_heatmap
from sap_core.plots.multiples import layer_multiples
from sap_core.plots.view import make_view
from sap_core.storage import storage_of
from sap_core.trajectory.access import by_layer
from sap_core.trajectory.store import TrajectoryWriter, open_trajectory
from sap_core.trajectory.synthetic import synthetic_trajectory
from sap_core.trajectory.variables import PRECISIONS

LAYERS, HEADS, POSITIONS = 32, 32, 1024
SINK = 0.6  # share of attention that the wandering sink takes
SPREAD = 1.5  # standard deviation of the floor's logarithm


@dataclass
class Timed:
    passed: float
    processor: float
    value: Any


def timed(work: Callable[[], Any], best_of: int = 1) -> Timed:
    """The fastest of ``best_of`` goes."""
    goes = []
    for _ in range(best_of):
        passed, processor = time.perf_counter(), time.process_time()
        value = work()
        goes.append(Timed(time.perf_counter() - passed, time.process_time() - processor, value))
    return min(goes, key=lambda go: go.passed)


class Source:
    """Attention of one step after the other, (layer, head, position); the same again for the same step."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        small = synthetic_trajectory("drifting", steps, 1, 1, POSITIONS)
        self.text = {name: small[name].values for name in ("token", "next_token", "masked", "accepted", "confidence")}
        self.path = small["received"].values[:, 0, 0].argmax(-1)
        self.attrs = {name: small.attrs[name] for name in ("objective", "model", "prompt_length", "pieces")}

    def step(self, step: int) -> dict[str, np.ndarray]:
        random = np.random.default_rng(step)
        received = np.exp(np.float32(SPREAD) * random.standard_normal((LAYERS, HEADS, POSITIONS), dtype=np.float32))
        received *= (1 - SINK) / received.sum(-1, keepdims=True)
        places = (self.path[step] + np.arange(LAYERS * HEADS)).reshape(LAYERS, HEADS, 1) % POSITIONS
        np.put_along_axis(received, places, np.take_along_axis(received, places, -1) + np.float32(SINK), -1)
        share = np.float32(1 - step / self.steps)
        scalars = {"entropy": np.ones((LAYERS, HEADS)), "distance": np.ones((LAYERS, HEADS))}
        text = {name: values[step] for name, values in self.text.items()}
        return {"received": received, "received_masked": received * share, **scalars, **text}


def write(path: Path, source: Source, precision: str) -> tuple[Timed, float]:
    """Time inside the writer, and the largest of one step: what a denoising step waits for."""
    passed = processor = longest = 0.0
    sizes = {"steps": source.steps, "layers": LAYERS, "heads": HEADS, "positions": POSITIONS}
    writer = TrajectoryWriter(path, **sizes, precision=precision, attrs=source.attrs)
    for step in range(source.steps):
        arrays = source.step(step)
        took = timed(lambda step=step, arrays=arrays: writer.append(step, **arrays))
        passed, processor, longest = passed + took.passed, processor + took.processor, max(longest, took.passed)
    took = timed(writer.close)
    return Timed(passed + took.passed, processor + took.processor, None), longest


SLICES: dict[str, Callable[[Any], Any]] = {
    "one head, all steps": lambda data: make_view(data, 17, 5),
    "one layer, mean over heads": lambda data: make_view(data, 17),
    "mean over layers and heads": lambda data: make_view(data),
    "one head, mean over layers": lambda data: make_view(data, None, 5),
    "one step, all layers and heads": lambda data: data["received"].isel(step=data.sizes["step"] // 2).values,
    "one head of every layer": lambda data: data["received"].isel(head=5).values,
    "one layer, all its heads": lambda data: data["received"].isel(layer=17).values,
}


def figures(path: Path) -> dict[str, tuple[int, Timed]]:
    """Bytes of JSON that the browser gets, and the time from an unread run to them."""

    def made(make: Callable[[Any], Any]) -> tuple[int, Timed]:
        took = timed(lambda: len(make(open_trajectory(path)).to_json().encode()), best_of=3)
        return took.value, took

    return {
        "heatmap of one head": made(lambda data: trajectory_heatmap(make_view(data, 17, 5))),
        "heatmap, zoomed to a quarter": made(
            lambda data: trajectory_heatmap(make_view(data, 17, 5), window=(0, data.sizes["step"] // 2, 0, 512))
        ),
        "every layer, mean over heads": made(layer_multiples),
        "every layer, one head": made(lambda data: layer_multiples(data, head=5)),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--steps", type=int, default=256)
    options.add_argument("--folder", type=Path, default=None)
    options.add_argument("--precision", choices=list(PRECISIONS), nargs="*", default=list(PRECISIONS))
    asked = options.parse_args()
    source = Source(asked.steps)
    whole = asked.steps * LAYERS * HEADS * POSITIONS * 4
    print(
        f"{asked.steps} steps x {LAYERS} layers x {HEADS} heads x {POSITIONS} positions: {whole / 2**30:.2f} GiB each"
    )
    print("of received attention and of its part from masked queries. Seconds passed (of the processor).\n")
    rows: dict[str, list[str]] = {}
    drawn: dict[str, list[str]] = {}
    for precision in asked.precision:
        with tempfile.TemporaryDirectory(dir=asked.folder, prefix="sap-benchmark-") as folder:
            path = Path(folder) / "0.zarr"
            took, longest = write(path, source, precision)
            sizes = storage_of(path).sizes(path)
            storage = open_trajectory(path).attrs["storage"]
            cells = rows.setdefault
            cells("writing all steps, s", []).append(f"{took.passed:.1f} ({took.processor:.1f})")
            cells("longest wait of one step, s", []).append(f"{longest:.2f}")
            cells("size, MiB", []).append(f"{sum(sizes.values()) / 2**20:.0f}")
            cells("files", []).append(str(len(sizes)))
            cells("largest error of a share", []).append(f"{largest_error(path, source):.1e}")
            cells("largest error of a row's sum", []).append(f"{storage.get('largest_error_of_a_row_sum', 0):.1e}")
            for name, read in SLICES.items():
                found = timed(lambda read=read, path=path: read(open_trajectory(path)), best_of=3)
                cells(f"{name}, s", []).append(f"{found.passed:.3f} ({found.processor:.3f})")
            everything = timed(lambda path=path: sum(1 for _ in by_layer(open_trajectory(path))))
            cells("all of it, layer by layer, s", []).append(f"{everything.passed:.1f} ({everything.processor:.1f})")
            for name, (size, found) in figures(path).items():
                drawn.setdefault(name, []).append(f"{size / 1e6:.2f} MB, {found.passed:.2f} ({found.processor:.2f})")
    table("", asked.precision, rows)
    table("figure: JSON, seconds from an unread run", asked.precision, drawn)


def largest_error(path: Path, source: Source) -> float:
    """Of a few steps, read back."""
    stored = open_trajectory(path)["received"]
    looked = sorted({0, source.steps // 3, source.steps - 1})
    return max(float(np.abs(stored.isel(step=step).values - source.step(step)["received"]).max()) for step in looked)


def table(title: str, columns: list[str], rows: dict[str, list[str]]) -> None:
    print(f"| {title} | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


if __name__ == "__main__":
    main()
