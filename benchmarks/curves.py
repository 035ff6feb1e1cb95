"""Likelihood and task scores of a model against sparsity, for every score, over several seeds, with intervals.

Each pattern is a sweep of its own in OUT, so a run that was stopped goes on where it was when the same command is given
again. Writes curves.csv, curves.parquet and curves.md into OUT. With --best it looks for the best default instead: the
score and the allocation with the lowest loss (best.py).

    python benchmarks/curves.py --quick                     # four methods, two sparsities: a minute or two
    python benchmarks/curves.py --out curves --workers 2    # all scores, 0.1 to 0.8, weights, heads and channels
    python benchmarks/curves.py --best --out best --workers 2
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from sap_core.choices.methods import METHODS
from sap_core.csv_files import csv_bytes
from sap_core.models.inspection import inspect_model
from sap_core.sweeps import paired_difference, summarise, sweep
from sap_core.sweeps.folder import SweepFolder
from sap_core.sweeps.table import seeds_interval

CONTROL = "noised_wanda"
MOVED = ", weights moved"  # compensate weights
QUICK = ("magnitude", "wanda", CONTROL, "sink")
KEYS = ["pattern", "method", "sparsity"]


def main() -> None:
    args = options().parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the workers, which are as many as there are cores
    if args.best:
        from best import find_best

        text = find_best(args, methods_for(args.model, "unstructured", args.methods))
    else:
        text = curves(args)
    print(text)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo:stories-diffusion")
    parser.add_argument("--out", type=Path, default=Path("curves"))
    parser.add_argument("--best", action="store_true", help="find the best default in the place of curves")
    parser.add_argument("--patterns", default="unstructured,heads,channels")
    parser.add_argument("--methods", default="", help="default: all that have the pattern and fit the model")
    parser.add_argument("--compensations", default="none,weights", help="of heads and channels")
    parser.add_argument("--sparsities", default="", help="default: 0.1 to 0.8; heads: one to all but one of a layer")
    parser.add_argument("--seeds", type=int, default=3, help="of calibration texts and noise")
    parser.add_argument("--samples", type=int, default=16, help="calibration texts")
    parser.add_argument("--texts", type=int, default=24, help="texts the likelihood is measured on")
    parser.add_argument("--draws", type=int, default=4, help="masks per text")
    parser.add_argument("--tasks", type=int, default=8, help="examples of each task for each seed; 0: no tasks")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--quick", action="store_true", help="four methods, two sparsities, few texts, no tasks")
    return parser


def curves(args: argparse.Namespace) -> str:
    """All patterns' curves; the text of curves.md."""
    if args.quick:
        args.methods, args.sparsities = args.methods or ",".join(QUICK), args.sparsities or "0.5,0.7"
        args.patterns, args.texts, args.samples, args.tasks = "unstructured", 8, 8, 0
    parts, dense = [], None
    for pattern in args.patterns.split(","):
        methods = methods_for(args.model, pattern, args.methods)
        asked = {"methods": methods, "patterns": (pattern,), "sparsities": sparsities(args, pattern)}
        asked |= {"seeds": tuple(range(args.seeds)), "tasks": args.tasks}
        if pattern in ("heads", "channels"):
            asked["compensations"] = tuple(args.compensations.split(","))
        done = run(args, args.out / pattern, **asked)
        table = with_compensation(done.table)
        dense = table.iloc[0]
        part = summarise(table)[[*KEYS, "seeds", "mean", "low", "high"]]
        part = part.merge(against_control(done.path, table), "left", KEYS)
        parts.append(part.merge(task_scores(table, args.seeds * args.tasks), "left", KEYS))
    table = pd.concat(parts, ignore_index=True)
    return write(args.out, "curves", table, markdown(table, dense))


def run(args: argparse.Namespace, folder: Path, **asked):
    """One sweep with the settings that all have in common."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    common = {"samples": args.samples, "texts": args.texts, "draws": args.draws, "skip_invalid": True}
    done = sweep(
        model=args.model, out=folder, workers=args.workers, **common | asked,
        progress=lambda p: print(f"\r\x1b[K{folder.name} {p.done}/{p.total} {p.message}", end="", file=sys.stderr),
    )  # fmt: skip
    print(file=sys.stderr)
    for cell, error in done.failed.items():
        print(f"failed: {cell}: {error}", file=sys.stderr)
    return done


def methods_for(model: str, pattern: str, asked: str = "") -> tuple[str, ...]:
    """The methods that have this pattern and see what the model sees; those ``asked`` (with commas) among them."""
    causal = inspect_model(model).objective == "autoregressive"
    known = [m.name for m in METHODS.values() if pattern in m.patterns and (m.name != "heads" or pattern == "heads")]
    if causal:
        known = [name for name in known if not (METHODS[name].inputs == "noised" and METHODS[name].sinks != "each")]
    return tuple(name for name in known if not asked or name in asked.split(","))


def sparsities(args: argparse.Namespace, pattern: str) -> tuple[float, ...]:
    """Those asked; else 0.1 to 0.8, and for heads every number of groups that a layer can lose."""
    if args.sparsities:
        return numbers(args.sparsities)
    if pattern == "heads":
        groups = inspect_model(args.model).kv_heads
        return tuple(round(gone / groups + 5e-4, 3) for gone in range(1, groups))
    return tuple(round(0.1 * step, 1) for step in range(1, 9))


def numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def with_compensation(table: pd.DataFrame) -> pd.DataFrame:
    """The method named with how what stays makes up for what goes."""
    if "compensate" not in table:
        return table
    moved = table["compensate"] == "weights"
    return table.assign(method=table["method"].where(~moved, table["method"] + MOVED)).drop(columns="compensate")


def against_control(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """KEYS, control, control_low, control_high: nats per token minus those of the control, in pairs of texts."""
    done = table[(table["state"] == "finished") & table["method"].notna()]
    rows = []
    for keys, group in done.groupby(KEYS, sort=False):
        control = done[(done["method"] == CONTROL) & (done["sparsity"] == keys[2])]
        if keys[1] == CONTROL or control.empty:
            continue
        rows.append((*keys, *paired(folder, group, control)))
    return pd.DataFrame(rows, columns=[*KEYS, "control", "control_low", "control_high"])


def paired(
    folder: Path, cells: pd.DataFrame, others: pd.DataFrame, other_folder: Path | None = None
) -> tuple[float, float, float]:
    """(mean, low, high) of the nats per token of ``cells`` minus ``others``, seed by seed and text by text.

    The 95 % interval joins the spread between seeds and the texts' error. What draws nothing at random has one cell,
    which stands for every seed. ``other_folder``: of another sweep on the same texts and masks.
    """
    records = [SweepFolder(folder), SweepFolder(other_folder or folder)]
    mine, theirs = (dict(zip(table["seed"], table["id"], strict=True)) for table in (cells, others))
    seeds = sorted(set(mine) & set(theirs)) if len(mine) > 1 and len(theirs) > 1 else sorted({*mine, *theirs})
    pairs = []
    for seed in seeds:
        pair = [side.get(seed, next(iter(side.values()))) for side in (mine, theirs)]
        pairs.append(paired_difference(*(sweep.record(one) for sweep, one in zip(records, pair, strict=True))))
    texts = int(cells["texts"].iloc[0])
    found = seeds_interval(
        np.array([pair.value for pair in pairs]), (float(np.mean([pair.error for pair in pairs])), texts)
    )
    return found["mean"], found["low"], found["high"]


def task_scores(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """KEYS and, per task, the share that is right of the ``count`` examples that all seeds have together, with its
    Wilson 95 % interval (NAME_low, NAME_high)."""
    done = table[(table["state"] == "finished") & table["method"].notna()]
    tasks = [name for name in table.columns if name.startswith("task_") and done[name].notna().any()]
    scores = done.groupby(KEYS, sort=False)[tasks].mean()
    for task in tasks:
        right = [binomtest(round(share * count), count).proportion_ci(method="wilson") for share in scores[task]]
        scores[f"{task}_low"], scores[f"{task}_high"] = ([ci[end] for ci in right] for end in (0, 1))
    return scores.reset_index()


def write(out: Path, name: str, table: pd.DataFrame, text: str) -> str:
    """The table as CSV and Parquet and the text as Markdown, into ``out``; returns the text."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.csv").write_bytes(csv_bytes(table))
    table.to_parquet(out / f"{name}.parquet", index=False)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    return text


def markdown(curves: pd.DataFrame, dense: pd.Series) -> str:
    """One table per pattern: a row per method, a column per sparsity, marked where it differs from the control."""
    lines = [
        f"Dense: {dense['nats_per_token']:.4f} nats/token ({dense['kind']}). Cells: nats/token above dense, ± half the "
        f"95 % interval; * better, ! worse than {CONTROL} (paired interval without 0)."
    ]
    for pattern, part in curves.groupby("pattern", sort=False):
        lines += ["", f"**{pattern}**", "", *grid_lines("method", part, cell), *task_lines(part, dense)]
    return "\n".join(lines) + "\n"


def grid_lines(title: str, part: pd.DataFrame, shown: Callable[[dict | None], str]) -> list[str]:
    """A row per method, a column per sparsity; each cell as ``shown`` writes its row of ``part``, None if missing."""
    shares = sorted(part["sparsity"].unique())
    lines = [f"| {title} | " + " | ".join(f"{share:.2g}" for share in shares) + " |"]
    lines.append("|---" * (len(shares) + 1) + "|")
    for method, rows in part.groupby("method", sort=False):
        found = {row["sparsity"]: row for row in rows.to_dict(orient="records")}
        lines.append(f"| {method} | " + " | ".join(shown(found.get(share)) for share in shares) + " |")
    return lines


def cell(row: dict | None) -> str:
    if row is None:
        return "-"
    mark = ""
    if not pd.isna(row["control"]):
        mark = " *" if row["control_high"] < 0 else " !" if row["control_low"] > 0 else ""
    return f"{row['mean']:.3f} ± {(row['high'] - row['low']) / 2:.3f}{mark}"


def task_lines(part: pd.DataFrame, dense: pd.Series) -> list[str]:
    """Task scores, where there are any: one table per task."""
    tasks = [name for name in part.columns if name.startswith("task_") and not name.endswith(("_low", "_high"))]
    lines: list[str] = []
    for task in tasks:
        title = task.removeprefix("task_").replace("_infilled", ", filled in")
        lines += ["", f"Right answers, {title} (dense: {dense[task]:.0%}), with the 95 % interval:", ""]
        lines += grid_lines(title, part, partial(score, task))
    return lines


def score(task: str, row: dict | None) -> str:
    if row is None or pd.isna(row[task]):
        return "-"
    return f"{row[task]:.0%} ({row[f'{task}_low'] * 100:.0f} to {row[f'{task}_high'] * 100:.0f})"


if __name__ == "__main__":
    main()
