"""Do the demo models show the phenomenon? The sink of the autoregressive one stays, the diffusion one's moves.

Both models write from the openings of the same held-out stories; per layer, attention received is averaged over heads,
and its dominant position is followed over the steps. Printed: a Markdown table with, per model and layer, the switch
rate and the standard deviation of the dominant position, mean and standard deviation over prompts.

    python benchmarks/sinks.py --prompts 32
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import sap_core as sap
from sap_core.demo import generate_stories
from sap_core.sinks.motion import dominant_positions, switch_rate

HELD_OUT = 10_000_000  # seeds from here on were never trained on


def openings(count: int, sentences: int = 1) -> list[str]:
    """The first sentences of held-out stories."""
    return [
        ". ".join(story.text.split(". ")[:sentences]) + "." for story in generate_stories(count, seed=HELD_OUT)
    ]


def measure(model: str, prompts: list[str], length: int, steps: int | None) -> dict[str, np.ndarray]:
    """Per prompt and layer: switch rate, standard deviation of the dominant position (positions). (prompt, layer)."""
    rates, deviations, example = [], [], []
    loaded = sap.load_model(model)
    with tempfile.TemporaryDirectory() as folder:
        for i, prompt in enumerate(prompts):
            run = sap.capture(loaded, prompt=prompt, length=length, steps=steps, out=Path(folder) / f"run-{i}")
            received = run.trajectory["received"].mean("head").transpose("step", "layer", "position").values
            path = dominant_positions(received)  # (step, layer)
            rates.append(switch_rate(path))
            deviations.append(path.std(axis=0))
            example.append(path)
    return {"switch_rate": np.array(rates), "deviation": np.array(deviations), "paths": example}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--models", nargs="+", default=["demo:stories-ar", "demo:stories-diffusion"])
    options = parser.parse_args()
    prompts = openings(options.prompts)
    print(f"{options.prompts} prompts, {options.length} tokens, at most {options.steps} denoising steps\n")
    print("| model | layer | switch rate | deviation of the dominant position (positions) | path of the first prompt |")
    print("|---|---|---|---|---|")
    for model in options.models:
        causal = sap.inspect_model(model).objective == "autoregressive"
        found = measure(model, prompts, options.length, None if causal else options.steps)
        for layer in range(found["switch_rate"].shape[1]):
            rate, spread = found["switch_rate"][:, layer], found["deviation"][:, layer]
            path = found["paths"][0][:, layer]
            shown = ", ".join(str(p) for p in path[:: max(1, len(path) // 8)])
            print(
                f"| {model} | {layer} | {rate.mean():.3f} ± {rate.std(ddof=1):.3f} "
                f"| {spread.mean():.1f} ± {spread.std(ddof=1):.1f} | {shown} |"
            )
        every = found["switch_rate"].mean(axis=1)
        wide = found["deviation"].mean(axis=1)
        print(
            f"| {model} | mean | {every.mean():.3f} ± {every.std(ddof=1):.3f} "
            f"| {wide.mean():.1f} ± {wide.std(ddof=1):.1f} | |"
        )


if __name__ == "__main__":
    main()
