"""What recording attention costs: a forward pass plain, recorded, and with eager attention's full maps kept.

Two geometries: a small model, and LLaDA-8B's (32 layers, 32 heads of 128, width 4096, inner width 12288, random
bfloat16 weights), whole on a GPU and two layers of it on a CPU. Times are interleaved: in every round each way runs
once, over the same tokens, and what is printed is the median over rounds of the ratio to that round's plain pass
(smallest and largest in brackets). On a GPU, peak memory is measured in the same rounds. On a CPU, time is the
process's own CPU time, and peak memory that of a fresh process per way (median of three for the small model): the
operating system's high-water mark during the pass, less what was resident before it. "Extra" is above the plain pass; a
few MiB either way are the allocator's. With sampled queries one step in sixteen uses all queries as well, to measure
the error; the time is the mean over such a run, and the error is what it measured.

    python benchmarks/capture.py                                # all this machine can do
    python benchmarks/capture.py --only small --lengths 512 --rounds 3
    python benchmarks/capture.py --only llada --lengths 512 1024 4096 --batches 1 4
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from typing import Any

import torch
from capture_measure import child
from capture_passes import STRIDE, Setting, mixed

SMALL = Setting(8, 8, 512, 1536, vocabulary=1000, dtype="float32", length=512, batch=4)
LLADA = Setting(
    layers=32,
    heads=32,
    width=4096,
    inner=12288,
    vocabulary=126464,
    dtype="bfloat16",
    length=512,
    batch=1,
    device="cuda",
)
# Without the head, whose 126,464 columns cost more than two layers and which capture does not touch: what two layers
# add is what 32 add, while the head would hide it.
LLADA_CPU = replace(LLADA, layers=2, vocabulary=1000, device="cpu", rounds=3)
GPU_LENGTHS, CPU_LENGTHS = (512, 1024, 4096), (512, 1024)
WAYS = {
    "plain": "plain",
    "captured": "recorded",
    "sampled": f"recorded, every {STRIDE}th query",
    "eager": "eager, full maps",
}
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("small", "llada"))
    parser.add_argument("--lengths", type=int, nargs="+")
    parser.add_argument("--batches", type=int, nargs="+", help="default: 1 and 4; 1 for two layers on a CPU")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    options = parser.parse_args()
    own = {"threads": options.threads, **({"rounds": options.rounds} if options.rounds else {})}
    if options.only != "llada":
        small(replace(SMALL, **own), options.lengths or CPU_LENGTHS)
    if options.only != "small":
        llada_on_gpu(replace(LLADA, **own), options.lengths or GPU_LENGTHS, options.batches or (1, 4))
        llada_on_cpu(replace(LLADA_CPU, **own), options.lengths or CPU_LENGTHS, options.batches or (1,))


def small(setting: Setting, lengths: list[int]) -> None:
    print(f"### A small model\n\n{described(setting)}, batch {setting.batch}\n")
    print("| length | forward pass | time, ratio to plain | extra peak memory | share of eager's |")
    print("|---|---|---|---|---|")
    errors: list[str] = []
    for length in lengths:
        times, extra, error = measured_on_cpu(replace(setting, length=length), repeats=3)
        for way, title in WAYS.items():
            share = "" if way == "plain" else f"{extra[way] / max(extra['eager'], 1):.2f}"
            print(f"| {length} | {title} | {times[way]} | {extra[way] / MIB:.0f} MiB | {share} |", flush=True)
        errors += error_of(error, length, setting.batch)
    print_errors(errors)


def llada_on_cpu(setting: Setting, lengths: list[int], batches: list[int]) -> None:
    print(f"\n### Two layers of LLaDA-8B's geometry on a CPU\n\n{described(setting)}\n")
    print("| length | batch | forward pass | time, ratio to plain | extra peak memory | share of eager's |")
    print("|---|---|---|---|---|---|")
    cells, errors = [(length, batch) for length in lengths for batch in batches], []
    for length, batch in cells:
        times, extra, error = measured_on_cpu(replace(setting, length=length, batch=batch), repeats=1)
        for way, title in WAYS.items():
            share = "" if way == "plain" else f"{extra[way] / max(extra['eager'], 1):.2f}"
            row = f"| {length} | {batch} | {title} | {times[way]} | {extra[way] / MIB:.0f} MiB | {share} |"
            print(row, flush=True)
        errors += error_of(error, length, batch)
    print_errors(errors)


def llada_on_gpu(setting: Setting, lengths: list[int], batches: list[int]) -> None:
    print("\n### LLaDA-8B's geometry on a GPU\n")
    cells, errors = [(length, batch) for length in lengths for batch in batches], []
    found = None
    if torch.cuda.is_available():
        found = child("on_gpu", setting, cells=cells)
        print(f"{described(setting)}, {found['device']}, {found['reduced']}\n")
    else:
        print("Not measured: no GPU here.\n")
    print("| length | batch | forward pass | time, ratio to plain | peak memory, ratio to plain | extra / weights |")
    print("|---|---|---|---|---|---|")
    for index, (length, batch) in enumerate(cells):
        cell = found["cells"][index] if found else None
        for way, title in WAYS.items():
            values = " | ".join(gpu_values(cell, way, found["weights"]) if cell else ["not measured"] * 3)
            print(f"| {length} | {batch} | {title} | {values} |", flush=True)
        errors += error_of(cell and cell["error"], length, batch)
    print_errors(errors)


def gpu_values(cell: dict[str, Any], way: str, weights: int) -> list[str]:
    if "plain" not in cell["seconds"] or way not in cell["seconds"]:
        return ["out of memory"] * 3
    peak, plain = cell["peaks"][way], cell["peaks"]["plain"]
    return [ratios(cell["seconds"])[way], f"{peak / plain:.2f}", f"{100 * (peak - plain) / weights:.2f} %"]


def measured_on_cpu(setting: Setting, repeats: int) -> tuple[dict[str, str], dict[str, float], dict[str, Any]]:
    """Ratios of time in words, extra bytes at the peak, and the error of query sampling."""
    timed = child("cpu_time", setting)
    peaks = {way: statistics.median(child("cpu_memory", setting, way=way) for _ in range(repeats)) for way in WAYS}
    extra = {way: max(peak - peaks["plain"], 0) for way, peak in peaks.items()}
    return ratios(timed["seconds"]), extra, timed["error"]


def ratios(seconds: dict[str, list[float]]) -> dict[str, str]:
    """Of each way to the plain pass of its round: median, smallest and largest."""
    rounds = {way: values for way, values in seconds.items() if way in WAYS}
    if "sampled" in seconds and "checked" in seconds:
        rounds["sampled"] = [mixed(*pair) for pair in zip(seconds["sampled"], seconds["checked"], strict=True)]
    found = {}
    for way, values in rounds.items():
        shares = [spent / plain for spent, plain in zip(values, seconds["plain"], strict=True)]
        found[way] = f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
    return {**found, "plain": "1"}


def error_of(error: dict[str, Any] | None, length: int, batch: int) -> list[str]:
    if not error:
        return []
    return [
        f"length {length}, batch {batch}: {100 * error['displaced']:.1f} % of the attention at a wrong position, "
        f"largest difference {error['largest']:.1e}, the dominant position right in "
        f"{100 * error['dominant_agreement']:.0f} % of the heads"
    ]


def print_errors(errors: list[str]) -> None:
    if errors:
        print(f"\nError of every {STRIDE}th query (random weights): " + "; ".join(errors) + ".", flush=True)


def described(setting: Setting) -> str:
    where = f"{setting.threads} CPU thread(s)" if setting.device == "cpu" else setting.device
    return (
        f"{setting.layers} layers, {setting.heads} heads, width {setting.width}, {setting.dtype}, {where}, "
        f"{setting.rounds} rounds"
    )


if __name__ == "__main__":
    main()
