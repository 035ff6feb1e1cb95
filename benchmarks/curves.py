"""Likelihood and task scores of a demo model against sparsity, for every score, over several seeds, with intervals.

A sweep (so it resumes when it is run again), then one table with mean and 95 % interval per method and sparsity, and
each method's paired difference to the control `noised_wanda`. Writes curves.parquet and curves.md beside the cells.

    python benchmarks/curves.py --quick                      # four methods, two sparsities: minutes on two cores
    python benchmarks/curves.py --model demo:stories-diffusion --out curves
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from sap_core.models.info import inspect_model
from sap_core.pruning.methods import METHODS
from sap_core.sweeps import paired_difference, summarise, sweep
from sap_core.sweeps.folder import SweepFolder

CONTROL = "noised_wanda"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo:stories-diffusion")
    parser.add_argument("--out", type=Path, default=Path("curves"))
    parser.add_argument("--pattern", default="unstructured", help="unstructured, heads or channels")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="fewer methods, sparsities, texts; no tasks")
    args = parser.parse_args()
    causal = inspect_model(args.model).objective == "autoregressive"
    methods = [m.name for m in METHODS.values() if args.pattern in m.patterns and m.name != "heads"]
    if causal:
        methods = [name for name in methods if not (METHODS[name].needs_mask_token and METHODS[name].sinks == "none")]
    asked = {"sparsities": tuple(round(0.1 * i, 1) for i in range(1, 9)), "tasks": 32, "texts": 32, "samples": 32}
    if args.quick:
        methods = [name for name in methods if name in ("magnitude", "wanda", CONTROL, "sink")]
        asked = {"sparsities": (0.5, 0.7), "tasks": 0, "texts": 16, "samples": 8}
    done = sweep(
        model=args.model, methods=tuple(methods), patterns=(args.pattern,), seeds=tuple(range(args.seeds)), **asked,
        skip_invalid=True, out=args.out, workers=args.workers,
        progress=lambda p: print(f"{p.done}/{p.total} {p.message}", end="\r", file=sys.stderr),
    )  # fmt: skip
    curves = summarise(done.table).merge(against_control(done.path, done.table), "left", ["method", "sparsity"])
    for task in [name for name in done.table.columns if name.startswith("task_")]:
        found = summarise(done.table, task, None)[["method", "sparsity", "mean", "low", "high"]]
        curves = curves.merge(found.add_prefix(f"{task}_").rename(columns=_keys(task)), "left", ["method", "sparsity"])
    curves.to_parquet(args.out / "curves.parquet", index=False)
    text = markdown(curves, done.table)
    (args.out / "curves.md").write_text(text)
    print(text)


def against_control(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """method, sparsity, control, control_low, control_high: nats per token minus the control's at the same seed, in
    pairs of texts, mean over seeds; the interval joins Student's t over seeds and the texts' error in quadrature."""
    sweep_folder, done = SweepFolder(folder), table[(table["state"] == "finished") & table["method"].notna()]
    controls = done[done["method"] == CONTROL].set_index(["sparsity", "seed"])["id"]
    rows = []
    for (method, sparsity), group in done.groupby(["method", "sparsity"], sort=False):
        pairs = []
        for cell, seed in zip(group["id"], group["seed"], strict=True):
            if (sparsity, seed) in controls.index and method != CONTROL:
                other = sweep_folder.record(controls[sparsity, seed])
                pairs.append(paired_difference(sweep_folder.record(cell), other))
        if not pairs:
            continue
        values, errors = np.array(pairs).T
        between = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
        half = float(np.hypot(between, 1.96 * errors.mean()))
        rows.append((method, sparsity, values.mean(), values.mean() - half, values.mean() + half))
    return pd.DataFrame(rows, columns=["method", "sparsity", "control", "control_low", "control_high"])


def markdown(curves: pd.DataFrame, table: pd.DataFrame) -> str:
    """The curves as a table."""
    dense = table.iloc[0]
    tasks = [name.removesuffix("_mean") for name in curves.columns if name.endswith("_mean") and name != "mean"]
    head = ["method", "sparsity", "seeds", "nats/token above dense", f"minus {CONTROL}", *tasks]
    lines = [f"Dense: {dense['nats_per_token']:.4f} nats/token ({dense['kind']}); {len(table) - 1} cells.", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in curves.to_dict(orient="records"):
        cells = [row["method"], f"{row['sparsity']:g}", str(row["seeds"]), _interval(row, "mean", "low", "high", ".4f")]
        cells.append(_interval(row, "control", "control_low", "control_high", "+.4f"))
        cells += [_interval(row, f"{task}_mean", f"{task}_low", f"{task}_high", ".0%") for task in tasks]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _interval(row: dict, middle: str, low: str, high: str, style: str) -> str:
    if pd.isna(row.get(middle)):
        return "-"
    return f"{row[middle]:{style}} ({row[low]:{style}} to {row[high]:{style}})"


def _keys(task: str) -> dict[str, str]:
    return {f"{task}_method": "method", f"{task}_sparsity": "sparsity"}


if __name__ == "__main__":
    main()
