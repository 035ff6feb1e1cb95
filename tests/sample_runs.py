"""Runs on disk for tests that need no model: synthetic trajectories and made-up results in real run folders."""

from __future__ import annotations

from pathlib import Path

from sap_core.runs.manifest import WRITER
from sap_core.runs.store import create_run
from sap_core.specs import (
    CaptureSpec,
    ExportSpec,
    PruneSpec,
    SweepSpec,
)
from sap_core.trajectory.store import VARIABLES, TrajectoryWriter
from sap_core.trajectory.synthetic import synthetic_trajectory

_RUNNING: list = []  # writers of runs that are to look as if they were being written
STEPPED = [name for name, row in VARIABLES.items() if row.dims[0] == "step"]


def capture_run(
    root: Path,
    kind: str = "mixed",
    *,
    objective: str = "masked_diffusion",
    model: str = "demo:stories-diffusion",
    steps: int = 12,
    written: int | None = None,
    layers: int = 3,
    heads: int = 4,
    positions: int = 32,
    samples: int = 1,
    state: str = "finished",
    name: str = "",
    step_seconds: float | None = None,
    told: dict | None = None,
    spec: CaptureSpec | None = None,
) -> Path:
    """A capture run of ``spec`` (or of a made-up prompt) under ``root`` whose trajectory is
    `synthetic_trajectory` of ``kind``, with the attributes ``told``
    beside its own; the folder."""
    prompts = tuple(f"once upon a time {index}" for index in range(samples))
    spec = spec or CaptureSpec.build(model=model, prompts=prompts, length=positions, name=name)
    writer = create_run("capture", spec, root=root)
    for sample in range(samples):
        data = synthetic_trajectory(kind, steps, layers, heads, positions, objective=objective)
        sizes = {"steps": data.sizes["step"], "layers": layers, "heads": heads, "positions": positions}
        attrs = {
            key: value for key, value in data.attrs.items() if key not in ("schema", "steps_total", "steps_written")
        }
        attrs |= told or {}
        stored = TrajectoryWriter(
            writer.path / "trajectory" / f"{sample}.zarr", **sizes, attrs=attrs, prompt=data["prompt"].values
        )
        for step in range(data.sizes["step"] if written is None else written):
            stored.append(step, **{variable: data[variable].values[step] for variable in STEPPED})
        stored.close()
    if state != "running":
        pace = {"step_seconds": step_seconds} if step_seconds else {}
        writer.finish({"text": "once upon a time", "texts": list(prompts), **pace}, state=state)
    else:
        _RUNNING.append(writer)
    return writer.path


def prune_run(
    root: Path,
    *,
    model: str = "demo:stories-diffusion",
    sparsity: float = 0.5,
    method: str = "wanda",
    recorded: bool = False,
    **fields,
) -> Path:
    """A finished prune run with a plan and made-up measurements; ``recorded``: with cost and both denoisings."""
    spec = PruneSpec.build(model=model, method=method, sparsity=sparsity, **fields)
    matrices = [
        {
            "name": f"model.layers.{layer}.self_attn.q_proj",
            "layer": layer,
            "rows": 8,
            "cols": 8,
            "sparsity": sparsity,
            "zeros": 32,
        }
        for layer in range(3)
    ]
    plan = {
        "method": method,
        "pattern": "unstructured",
        "sparsity": sparsity,
        "compare": "row",
        "matrices": matrices,
        "heads": [],
        "parameters": 1000,
        "pending": "",
        "totals": {"weights": 192, "zeros": 96, "sparsity": sparsity, "of_all_parameters": 0.096, "heads": 0},
    }
    likelihood = {
        "nats_per_token": 0.8,
        "standard_error": 0.02,
        "perplexity": 2.2,
        "kind": "bound",
        "texts": 8,
        "tokens": 900,
    }
    result = {
        "plan": plan,
        "report": {"seconds": 1.5},
        "prompt": "once upon a time",
        "dense": {"text": "the cat <b>sat</b>", "likelihood": likelihood},
        "pruned": {"text": "the cat lay", "likelihood": likelihood | {"nats_per_token": 0.86}},
        "difference": {"nats_per_token": 0.06, "standard_error": 0.01},
        "same_tokens": 0.67,
    }
    writer = create_run("prune", spec, root=root)
    if recorded:
        dense = {"parameters": 1000, "nonzero_parameters": 1000, "bytes": 4000, "tokens_per_second": 50, "seconds": 2.5}
        pruned = dense | {"nonzero_parameters": 904, "tokens_per_second": 60, "seconds": 2.1, "turns": [2.1, 2.2]}
        result |= {
            "cost": {"dense": dense, "pruned": pruned, "speedup": 1.2, "speedup_low": 1.1, "speedup_high": 1.3},
            "denoising": {"steps": 6},
        }
        for sample, kind in enumerate(("fixed", "mixed")):
            _store(writer.path, sample, synthetic_trajectory(kind, 6, 2, 2, 16))
    writer.finish(result)
    return writer.path


def _store(path: Path, sample: int, data) -> None:
    sizes = {"steps": data.sizes["step"], "layers": data.sizes["layer"], "heads": data.sizes["head"]}
    attrs = {key: value for key, value in data.attrs.items() if key not in ("schema", "steps_total", "steps_written")}
    stored = TrajectoryWriter(
        path / "trajectory" / f"{sample}.zarr", **sizes, positions=data.sizes["position"], attrs=attrs,
        prompt=data["prompt"].values,
    )  # fmt: skip
    for step in range(data.sizes["step"]):
        stored.append(step, **{variable: data[variable].values[step] for variable in STEPPED})
    stored.close()


def export_run(root: Path, source: Path, out: Path) -> Path:
    """A finished export run of ``source`` that claims to have written ``out``."""
    writer = create_run("export", ExportSpec.build(run=str(source), out=str(out)), root=root)
    out.mkdir(parents=True)
    (out / "config.json").write_text("{}")
    check = {"equal": True, "loader": "transformers", "max_difference": 0.0, "tolerance": 1e-4, "tokens_checked": 24}
    writer.finish(
        {
            "folder": str(out),
            "bytes": 2,
            "files": ["config.json"],
            "loader": "transformers",
            "code": "load()",
            "verification": check,
        }
    )
    return writer.path


def sweep_run(
    root: Path,
    methods: dict[str, tuple[float, ...]],
    *,
    model: str = "demo:stories-diffusion",
    waiting: tuple[str, ...] = (),
    preset: str | None = None,
    cells: list[dict] | None = None,
    name: str = "",
) -> Path:
    """A sweep of ``methods`` at their sparsities (or of ``cells``, fields of `PruneSpec`), all finished but those
    ``waiting``; the loss increase is 1.05 x sparsity. Closed when nothing waits, else left as if stopped."""
    chosen = {"preset": preset} if preset else {"methods": tuple(methods)}
    spec = SweepSpec.build(model=model, name=name, **chosen)
    writer = create_run("sweep", spec, root=root)
    fields = cells or [{"method": method, "sparsity": share} for method, shares in methods.items() for share in shares]
    specs = {"-".join(str(value) for value in one.values()): PruneSpec.build(model=model, **one) for one in fields}
    document = {"schema": 1, "skipped": [], "model_files": {}}
    listed = [{"id": "dense", "spec": None}, *({"id": cell, "spec": one} for cell, one in specs.items())]
    writer.write_json("sweep.json", document | {"cells": listed})
    for cell, one in {"dense": None, **specs}.items():
        if cell in waiting:
            continue
        share = one.sparsity if one else 0.0
        quality = {
            "nats": [10 * (1 + share), 10 * (1 + share) + share],
            "counted": [10, 10],
            "kind": "bound",
            "parameters": 1000,
            "nonzero_parameters": round(1000 * (1 - share)),
            "bytes": 4000,
            "tokens_per_second": 10.0,
            "speedup": 1.25 if one else 1.0,
        }
        writer.write_json(f"cells/{cell}.json", {"id": cell, "pruning": {}, "quality": quality, "seconds": 2.0})
    if waiting:
        (writer.path / WRITER).unlink()
    else:
        writer.finish({"cells": len(listed)})
    return writer.path
