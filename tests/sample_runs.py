"""Runs on disk for tests that need no model: synthetic trajectories and made-up results in real run folders."""

from __future__ import annotations

from pathlib import Path

from sap_core.runs.store import create_run
from sap_core.specs import CaptureSpec, ExportSpec, PruneSpec
from sap_core.trajectory.store import VARIABLES, TrajectoryWriter
from sap_core.trajectory.synthetic import synthetic_trajectory

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
) -> Path:
    """A capture run under ``root`` whose trajectory is `synthetic_trajectory` of ``kind``; the folder."""
    prompts = tuple(f"once upon a time {index}" for index in range(samples))
    writer = create_run(
        "capture", CaptureSpec.build(model=model, prompts=prompts, length=positions, name=name), root=root
    )
    for sample in range(samples):
        data = synthetic_trajectory(kind, steps, layers, heads, positions, objective=objective)
        sizes = {"steps": data.sizes["step"], "layers": layers, "heads": heads, "positions": positions}
        attrs = {
            key: value for key, value in data.attrs.items() if key not in ("schema", "steps_total", "steps_written")
        }
        stored = TrajectoryWriter(
            writer.path / "trajectory" / f"{sample}.zarr", **sizes, attrs=attrs, prompt=data["prompt"].values
        )
        for step in range(data.sizes["step"] if written is None else written):
            stored.append(step, **{variable: data[variable].values[step] for variable in STEPPED})
        stored.close()
    if state != "running":
        writer.finish({"text": "once upon a time", "texts": list(prompts)}, state=state)
    return writer.path


def prune_run(
    root: Path, *, model: str = "demo:stories-diffusion", sparsity: float = 0.5, method: str = "wanda"
) -> Path:
    """A finished prune run with a plan and made-up measurements."""
    spec = PruneSpec.build(model=model, method=method, sparsity=sparsity)
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
    writer.finish(result)
    return writer.path


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
