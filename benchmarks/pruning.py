"""How fast the engine prunes, beside the published algorithms' plain loops, and whether both remove the same weights.

One random bidirectional model, one CPU, the same token ids; the two sides take turns, and what is printed is the ratio
of their CPU times (median of the turns, smallest and largest in brackets). The engine's time is that of the whole verb:
copying the model, pruning, counting and hashing the result; the loops' time is that of finding the masks.

    python benchmarks/pruning.py            # about two minutes on one core
    python benchmarks/pruning.py --quick    # a smaller model, one turn
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import published
import torch
from torch import Tensor

from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.pruning.scoring.masks import lowest_of_groups

VOCABULARY, MASK = 512, 511


@dataclass(frozen=True)
class Case:
    """One comparison; each side gives its masks by matrix name, True where a weight goes."""

    title: str
    engine: Callable[[], dict[str, Tensor]]
    loops: Callable[[], dict[str, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller model and one turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--length", type=int, default=128, help="tokens per text")
    parser.add_argument("--texts", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.quick:
        args.turns, args.layers, args.width, args.length, args.texts = 1, 2, 64, 64, 2
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        print(
            f"{args.layers} layers, width {args.width}, {args.texts} texts of {args.length} tokens, "
            f"{args.threads} CPU thread(s), float32, {args.turns} turn(s)\n"
        )
        print("| what | plain loops, s | engine, s | times faster | equal mask entries |")
        print("|---|---|---|---|---|")
        for case in cases(Path(folder), args):
            print(row(case, args.turns), flush=True)


def cases(folder: Path, args: argparse.Namespace) -> list[Case]:
    """All comparisons, on one model saved in ``folder``."""
    dense = load_model(str(save_model(folder / "model", args.layers, args.width, args.length)), device="cpu")
    ids = np.random.default_rng(0).integers(0, MASK, (args.texts, args.length))
    np.save(folder / "texts.npy", ids)
    texts = torch.from_numpy(ids)

    def engine(**asked: object) -> Callable[[], dict[str, Tensor]]:
        # A copy of the model each time: the engine would remember what it measured on the last one.
        return lambda: zeros(prune(dense.clone(), calibration=str(folder / "texts.npy"), seed=0, **asked).model)

    def loops_sink(n_of_m: bool) -> dict[str, Tensor]:
        norms = published.sink_norms(dense, texts, seed=0)
        if not n_of_m:
            return published.row_masks(dense, norms, 0.5)
        return {
            name: published.nm_mask(linear.weight.abs() * norms[name][None], 2, 4)
            for name, linear in matrices(dense).items()
        }

    return [
        Case("sink, 50 % of each row", engine(method="sink", sparsity=0.5), lambda: loops_sink(False)),
        Case("sink, 2:4", engine(method="sink", pattern="2:4"), lambda: loops_sink(True)),
        Case(
            "wanda, 2:4",
            engine(method="wanda", pattern="2:4"),
            lambda: published.wanda_masks(dense.clone(), texts, 2, 4),
        ),
        Case(
            "magnitude, 2:4", engine(method="magnitude", pattern="2:4"), lambda: published.magnitude_masks(dense, 2, 4)
        ),
        Case(
            "2:4 masks alone, from given scores",
            lambda: {name: lowest_of_groups(m.weight.abs(), 2, 4) for name, m in matrices(dense).items()},
            lambda: {name: published.nm_mask(m.weight.abs(), 2, 4) for name, m in matrices(dense).items()},
        ),
    ]


def row(case: Case, turns: int) -> str:
    """One line of the table; a turn that does not count comes first."""
    seconds: dict[str, list[float]] = {"engine": [], "loops": []}
    masks: dict[str, dict[str, Tensor]] = {}
    for turn in range(turns + 1):
        for side in seconds:
            started = time.process_time()
            masks[side] = getattr(case, side)()
            if turn:
                seconds[side].append(time.process_time() - started)
    ratios = [loops / engine for loops, engine in zip(seconds["loops"], seconds["engine"], strict=True)]
    same = sum(int((masks["engine"][name] == mask).sum()) for name, mask in masks["loops"].items())
    entries = sum(mask.numel() for mask in masks["loops"].values())
    equal = "all" if same == entries else f"{same / entries:.6%} ({entries - same} of {entries} differ)"
    return (
        f"| {case.title} | {statistics.median(seconds['loops']):.3f} | {statistics.median(seconds['engine']):.3f} "
        f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {equal} |"
    )


def matrices(model) -> dict[str, torch.nn.Linear]:
    """Every prunable linear layer by name."""
    return {name: linear for layer in range(len(model.blocks)) for name, linear in model.linears(layer).items()}


def zeros(model) -> dict[str, Tensor]:
    """Where the weights are gone."""
    return {name: linear.weight == 0 for name, linear in matrices(model).items()}


def save_model(folder: Path, layers: int, width: int, length: int) -> Path:
    """A random bidirectional Llama with a mask token; weights large enough for attention to have sinks."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(2, width // 32),
        max_position_embeddings=length,
        tie_word_embeddings=False,
        initializer_range=0.2,
    )
    config.is_causal = False
    config.mask_token_id = MASK
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
