"""The result of `sap sinks`: where the sinks of a run are, which tokens they are, and how they move."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import xarray as xr

from ..choices.sink_rules import DEFAULT_RULE, SinkRule, sink_rule
from ..errors import InvalidInput
from ..trajectory.access import layer_numbers, trajectories_of
from .motion import METRICS, dominant_positions
from .scan import Scan, scan
from .token_types import TYPES, token_type, token_types

TOP = 20


def sink_summary(
    source: Any, rule: SinkRule | str = DEFAULT_RULE, *, threshold: float | None = None, sample: int = 0
) -> dict:
    """Return a JSON-able summary of the sinks of a run.

    ``metrics`` is over all samples: mean over heads and samples, with the standard deviation over heads and, where
    there are several, over samples. ``path``, ``sinks_per_step``, ``by_layer`` and ``sink_positions`` describe one
    sample. ``tokens`` counts, over all samples, which tokens the sinks are: fraction of all (step, layer, head, sink);
    ``types`` the same by kind of token, beside the kind's fraction of all existing (step, position).

    Args:
        source: A run, a trajectory, or a list of them.
        rule: What a sink is, see `find_sinks`.
        threshold: Threshold of a rule given by name; None takes its default.
        sample: Prompt of the run, from 0.

    Raises:
        UnknownOption, InvalidInput: an unknown rule; no captured step; a sample that does not exist.
    """
    asked = sink_rule(rule, threshold)
    datasets = trajectories_of(source)
    if not 0 <= sample < len(datasets):
        raise InvalidInput(f"sample is {sample}; the run has samples 0 to {len(datasets) - 1}.")
    scans = [scan(dataset, asked) for dataset in datasets]
    dataset, found = datasets[sample], scans[sample]
    path = dominant_positions(found.received)
    return {
        "rule": asked.to_dict(),
        "model": dataset.attrs.get("model", ""),
        "objective": dataset.attrs.get("objective", ""),
        "samples": len(datasets),
        **{f"{dim}s": int(dataset.sizes[dim]) for dim in ("step", "layer", "head", "position")},
        "metrics": _metrics(scans),
        "sample": sample,
        "path": path.tolist(),
        "path_tokens": _pieces(dataset, dataset["token"].values[np.arange(len(path)), path]),
        "sinks_per_step": _mean_count(found, dataset).tolist(),
        "by_layer": [_layer(found, index, number) for index, number in enumerate(layer_numbers(dataset))],
        "sink_positions": _positions(dataset, found),
        "tokens": _tokens(datasets, scans),
        "types": _types(datasets, scans),
    }


def _metrics(scans: list[Scan]) -> dict[str, dict[str, Any]]:
    table = {}
    for name, metric in METRICS.items():
        samples = np.array([part.heads[name].mean() for part in scans])
        table[name] = {
            "title": metric.title,
            "unit": metric.unit,
            "mean": float(samples.mean()),
            "sd_heads": float(np.mean([part.heads[name].std() for part in scans])),
            "sd_samples": float(samples.std(ddof=1)) if len(samples) > 1 else None,
        }
    return table


def _mean_count(found: Scan, dataset: xr.Dataset) -> np.ndarray:
    return found.sink_counts.sum(axis=1) / (dataset.sizes["layer"] * dataset.sizes["head"])


def _layer(found: Scan, layer: int, number: int) -> dict[str, Any]:
    return {
        "layer": number,
        "path": dominant_positions(found.layer_received[layer]).tolist(),
        "metrics": {name: float(found.layers[name][layer]) for name in METRICS},
        "head_metrics": {name: float(found.heads[name][layer].mean()) for name in METRICS},
    }


def _positions(dataset: xr.Dataset, found: Scan) -> list[dict[str, Any]]:
    """Return the positions that are sinks most often, with their final token."""
    share = found.sink_counts.sum(axis=0) / (dataset.sizes["step"] * dataset.sizes["layer"] * dataset.sizes["head"])
    received = found.received.mean(axis=0)
    final = dataset["next_token"].values[-1]
    best = [int(j) for j in np.argsort(-share, kind="stable")[:TOP] if share[j] > 0]
    token_texts = _pieces(dataset, final[best])
    return [
        {
            "position": j,
            "token": int(final[j]),
            "piece": token_text,
            "sink_share": float(share[j]),
            "received": float(received[j]),
        }
        for j, token_text in zip(best, token_texts, strict=True)
    ]


def _tokens(datasets: list[xr.Dataset], scans: list[Scan]) -> list[dict[str, Any]]:
    """Return which tokens the sinks are, counted at the step at which they are sinks (so a mask can be one)."""
    counts: Counter[tuple[int, str]] = Counter()
    for dataset, found in zip(datasets, scans, strict=True):
        tokens = dataset["token"].values
        for token in np.unique(tokens[found.sink_counts > 0]):
            token_text = _pieces(dataset, [token])[0]
            counts[int(token), token_text] += int(found.sink_counts[tokens == token].sum())
    total = max(sum(counts.values()), 1)
    mask = datasets[0].attrs.get("mask_token_id")
    return [
        {"token": token, "piece": token_text, "type": token_type(token_text, bool(token == mask)), "share": n / total}
        for (token, token_text), n in counts.most_common(TOP)
    ]


def _types(datasets: list[xr.Dataset], scans: list[Scan]) -> list[dict[str, Any]]:
    sinks, positions = np.zeros(len(TYPES)), np.zeros(len(TYPES))
    for dataset, found in zip(datasets, scans, strict=True):
        kinds, exists = token_types(dataset), found.visible > 0
        for kind in range(len(TYPES)):
            sinks[kind] += found.sink_counts[kinds == kind].sum()
            positions[kind] += (exists & (kinds == kind)).sum()
    shares, spread = sinks / max(sinks.sum(), 1), positions / max(positions.sum(), 1)
    return [
        {"type": name, "share": float(share), "of_positions": float(part)}
        for name, share, part in zip(TYPES, shares, spread, strict=True)
    ]


def _pieces(dataset: xr.Dataset, tokens: Any) -> list[str]:
    known = json.loads(dataset.attrs.get("pieces", "{}"))
    return [known.get(str(int(token)), "") for token in tokens]
