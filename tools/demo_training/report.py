"""Measure a demo model: likelihood against the generator's entropy, the three tasks, how its sinks move.

    PYTHONPATH=tools python -m demo_training.report assets/demo/stories-ar assets/demo/stories-diffusion

writes `report.json` beside the weights of each folder; `sap demo train` does so for every model it trains.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sap_core.progress import Progress, ProgressCallback, silent
from sap_core.stories.corpus import entropy_rate, generate, words
from sap_core.stories.tasks import FIRST_SEED, examples

#: Prompts of the sink measurement: this many words of a held-out story, equal for all so that none is padded.
_PROMPT_WORDS = 9
_ROWS_AT_ONCE = 16


def demo_report(
    model_dir: str | Path,
    *,
    examples: int = 200,
    draws: int = 16,
    prompts: int = 32,
    canvas: int = 96,
    progress: ProgressCallback = silent,
) -> dict[str, Any]:
    """Measure the model in `model_dir`, write `report.json` there, and return it.

    Args:
        examples: texts of the likelihood and of each task.
        draws: masks per text of the diffusion bound.
        prompts: runs of the sink measurement, each on a canvas of `canvas` tokens.

    Returns:
        generator: entropy of the corpus, nats per token (see `corpus`), the least that any model can reach.
        likelihood: nats per token, standard error; exact or a bound (see `evaluation.likelihood`). A diffusion model is
            told the size of the canvas, which the entropy does not allow for: it is worth under 0.01 nats per token.
        tasks: share of stories without a fault, of exact answers, of summaries without a fault; for a diffusion model
            the same as infilling.
        writing: of stories from a first sentence, a diffusion model writing two tokens a step: without a fault, and
            told by the grammar's own sentences alone.
        sinks: how the dominant position moves, per layer (attention averaged over heads), mean and standard deviation
            over prompts. `shift`: its mean position in the last quarter of the steps minus that in the first, as a
            share of the canvas; above 0: to the right.
    """
    from sap_core.evaluation.api import evaluate
    from sap_core.models.loading import load_model

    folder = Path(model_dir)
    model = load_model(str(folder))
    found = evaluate(model, samples=examples, draws=draws, progress=progress)
    report = {
        "model": folder.name,
        "objective": found["objective"],
        "parameters": found["parameters"],
        "bytes": found["bytes"],
        "generator": entropy_rate(),
        "likelihood": found["likelihood"],
        "tasks": found["tasks"],
        "writing": _writing(model, examples, 2 if model.is_diffusion else 1, progress),
        "sinks": _sinks(model, prompts, canvas, progress),
    }
    aside = folder / ".report.json.new"
    aside.write_text(json.dumps(report, indent=1) + "\n")
    os.replace(aside, folder / "report.json")
    return report


def _writing(model, count: int, pace: int, progress: ProgressCallback) -> dict[str, Any]:
    """Stories from their first sentence, at temperature 0, `pace` tokens a step, scored by kind of fault."""
    by_length: dict[int, list] = {}
    for example in examples("story", count):
        by_length.setdefault(example.length, []).append(example)
    kinds: dict[str, int] = {}
    clean = told = done = 0
    for length, group in sorted(by_length.items()):
        for start in range(0, len(group), _ROWS_AT_ONCE):
            some = group[start : start + _ROWS_AT_ONCE]
            for example, written in zip(some, _written(model, some, length, pace), strict=True):
                faults = example.faults(written, strict=True)
                told += not faults
                faults = [fault for fault in faults if fault.kind != "wording"]
                clean += not faults
                for kind in {fault.kind for fault in faults}:
                    kinds[kind] = kinds.get(kind, 0) + 1
            done += len(some)
            progress(Progress(f"write stories, {pace} tokens a step", done, count))
    return {
        "stories": count,
        "tokens_per_step": pace,
        "without_fault": clean / count,
        "in_the_grammar": told / count,
        "stories_with_fault_of_kind": dict(sorted(kinds.items())),
    }


def _written(model, asked: list, length: int, pace: int) -> list[str]:
    from sap_core.evaluation.generation import STORY_BLOCK
    from sap_core.evaluation.generation import generate as write
    from sap_core.evaluation.tasks import continued

    if not model.is_diffusion:
        return continued(model, asked, length)
    prompts = [example.before for example in asked]
    to_write = length - min(len(model.encode(prompt)) for prompt in prompts)
    steps = -(-to_write // pace)
    written = write(model, prompts, length=length, steps=steps, block_length=STORY_BLOCK, until_end=True)
    return [model.decode(written.row(i, model.tokenizer.eos_token_id)) for i in range(len(asked))]


def _sinks(model, count: int, canvas: int, progress: ProgressCallback) -> dict[str, Any]:
    from sap_core.capturing.api import capture
    from sap_core.sinks.motion import dominant_positions, switch_rate

    texts = [" ".join(words(generate(FIRST_SEED + i, "story").text)[:_PROMPT_WORDS]) for i in range(count)]
    rates, spreads, masses, shifts, path = [], [], [], [], None
    with TemporaryDirectory() as folder:
        for start in range(0, count, _ROWS_AT_ONCE):
            run = capture(
                model, prompts=texts[start : start + _ROWS_AT_ONCE], length=canvas, out=Path(folder) / f"run-{start}"
            )
            for trajectory in run.trajectories:
                by_layer = trajectory["received"].mean("head").values  # (step, layer, position)
                dominant = dominant_positions(by_layer)
                rates.append(switch_rate(dominant))
                spreads.append(dominant.std(axis=0))
                masses.append(by_layer.max(axis=-1).mean(axis=0))
                quarter = max(1, len(dominant) // 4)
                shifts.append((dominant[-quarter:].mean(axis=0) - dominant[:quarter].mean(axis=0)) / canvas)
                path = dominant if path is None else path
            progress(Progress("follow the sinks", min(start + _ROWS_AT_ONCE, count), count))
    return {
        "prompts": count,
        "positions": canvas,
        "steps": len(path),
        "switch_rate": _spread(np.stack(rates).mean(axis=1)),
        "switch_rate_by_layer": np.stack(rates).mean(axis=0).round(4).tolist(),
        "switch_rate_sd_by_layer": np.stack(rates).std(axis=0, ddof=1).round(4).tolist(),
        "shift": _spread(np.stack(shifts).mean(axis=1)),
        "shift_by_layer": np.stack(shifts).mean(axis=0).round(4).tolist(),
        "dominant_position_sd": _spread(np.stack(spreads).mean(axis=1)),
        "dominant_position_sd_by_layer": np.stack(spreads).mean(axis=0).round(2).tolist(),
        "share_received_by_dominant_by_layer": np.stack(masses).mean(axis=0).round(4).tolist(),
        "example_path_by_layer": path.T.tolist(),
    }


def _spread(per_prompt: np.ndarray) -> dict[str, float]:
    return {"mean": round(float(per_prompt.mean()), 4), "sd_over_prompts": round(float(per_prompt.std(ddof=1)), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="+", type=Path, help="model folders")
    parser.add_argument("--examples", type=int, default=200, help="texts of the likelihood and of each task")
    args = parser.parse_args()
    for folder in args.folder:
        found = demo_report(folder, examples=args.examples)
        print(json.dumps({key: found[key] for key in ("model", "likelihood", "tasks", "writing")}, indent=1))


if __name__ == "__main__":
    main()
