"""What is true of the two models of this folder, computed plainly: torch and transformers only, one text at a time.

The product's numbers are compared with these. Texts are a list of strings; the frame that a tokenizer puts around a
text is neither masked nor scored; errors are over texts, and pairs share texts and masks.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

HERE = Path(__file__).parent
BERT, QWEN3 = HERE / "bert", HERE / "qwen3"


def load(folder: Path):
    """Return (model in float32, tokenizer)."""
    auto = AutoModelForMaskedLM if folder.name == "bert" else AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)


def read(name: str) -> list[str]:
    return (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def draw(tokenizer, text: str, draws: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Return ``draws`` sets of positions to mask: k of the n that are text, k uniform on 1..n."""
    special = tokenizer(text, return_special_tokens_mask=True)["special_tokens_mask"]
    places = np.flatnonzero(np.array(special) == 0)
    return [generator.permutation(places)[: generator.integers(1, len(places) + 1)] for _ in range(draws)]


@torch.no_grad()
def masked_nats(model, tokenizer, text: str, masks: list[np.ndarray]) -> tuple[float, int]:
    """Return (the masked-diffusion bound of the whole text in nats, its tokens): n times the mean masked loss."""
    encoded = tokenizer(text, return_special_tokens_mask=True)
    ids, special = torch.tensor([encoded["input_ids"]]), encoded["special_tokens_mask"]
    losses = []
    for where in masks:
        seen = ids.clone()
        seen[0, where] = tokenizer.mask_token_id
        losses.append(cross_entropy(model(seen).logits[0, where], ids[0, where]).item())
    count = special.count(0)
    return count * float(np.mean(losses)), count


@torch.no_grad()
def causal_nats(model, tokenizer, text: str) -> tuple[float, int]:
    """Return (the sum of -ln p(token | those before it) over the tokens after the first, how many these are)."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    return cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="sum").item(), ids.shape[1] - 1


def per_token(nats, counts) -> tuple[float, float]:
    """Return (nats per token over all texts, its standard error over texts); of differences, too."""
    nats, counts = np.array(nats), np.array(counts)
    mean = nats.sum() / counts.sum()
    return mean, np.sqrt(len(nats) / (len(nats) - 1) * ((nats - mean * counts) ** 2).sum()) / counts.sum()


@torch.no_grad()
def attention(folder: Path, ids) -> np.ndarray:
    """Return the attention maps [layer, head, query, key] of one text, by transformers' eager code."""
    auto = AutoModelForMaskedLM if folder.name == "bert" else AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    return torch.cat(model(torch.as_tensor(ids)[None], output_attentions=True).attentions).numpy()


def heads(received: np.ndarray, sums: np.ndarray) -> dict[tuple[int, int], float]:
    """Return the instability of each (layer, head): the mean of five components (METRICS, section 3).

    ``received``: [step, layer, head, position], shares; ``sums``: the same as column sums, of mean 1. A sink is a
    position whose sum exceeds the mean of the others' by more than 3.
    """
    _, layers, number, size = received.shape
    found = {}
    for layer, head in np.ndindex(layers, number):
        rows, columns = received[:, layer, head].astype(float), sums[:, layer, head].astype(float)
        path = rows.argmax(-1)
        moved = path[1:] != path[:-1]
        sinks = [{j for j in range(size) if row[j] > (row.sum() - row[j]) / (size - 1) + 3} for row in columns]
        centroids = [
            sum(j * row[j] for j in k) / sum(row[j] for j in k) for k, row in zip(sinks, rows, strict=True) if k
        ]
        same = [len(a & b) / len(a | b) if a | b else 1.0 for a, b in pairwise(sinks)]
        alike = [np.corrcoef(a, b)[0, 1] for a, b in pairwise(rows)]
        parts = [
            moved.mean(), 1 - 1 / (moved.sum() + 1), 2 * np.std(centroids) / (size - 1) if centroids else 0.0,
            1 - np.mean(alike), 1 - np.mean(same),
        ]  # fmt: skip
        found[layer, head] = float(np.clip(parts, 0, 1).mean())
    return found


@torch.no_grad()
def prune(model, tokenizer, method: str, sparsity: float, calibration: list[str] = ()):
    """Return a copy with ``sparsity`` of each block's matrices at zero: "magnitude" within a matrix; "wanda" within an
    output row, block by block on the inputs of what is pruned so far (2306.11695)."""
    model = copy.deepcopy(model)
    blocks = model.bert.encoder.layer if hasattr(model, "bert") else model.model.layers
    for block in blocks:
        squares, hooks = {}, []
        linears = [module for module in block.modules() if isinstance(module, nn.Linear)]
        for linear in linears:
            add = lambda m, args: squares.__setitem__(m, squares.get(m, 0) + args[0][0].double().square().sum(0))  # noqa
            hooks.append(linear.register_forward_pre_hook(add))
        for text in calibration if method == "wanda" else ():
            model(torch.tensor([tokenizer(text)["input_ids"]]))
        for hook in hooks:
            hook.remove()
        for linear in linears:
            score = linear.weight.abs() * (squares[linear].sqrt().float() if method == "wanda" else 1)
            score = score if method == "wanda" else score.flatten()[None]
            # The published codes: Wanda's lowest so many of a row, magnitude's all up to the next one's score.
            rank = int(sparsity * score.shape[1]) + (method == "magnitude")
            edge = score.kthvalue(rank, dim=1, keepdim=True).values
            linear.weight.view_as(score)[score <= edge] = 0
    return model


def main() -> None:
    """Print the truth of both models."""
    texts, calibration = read("evaluation"), read("calibration")
    for folder in (BERT, QWEN3):
        dense, tokenizer = load(folder)
        generator = np.random.default_rng(0)
        masks = [draw(tokenizer, text, 16, generator) for text in texts]

        def measure(model, tokenizer=tokenizer, masks=masks):
            if tokenizer.mask_token_id is None:
                found = [causal_nats(model, tokenizer, text) for text in texts]
            else:
                found = [masked_nats(model, tokenizer, text, each) for text, each in zip(texts, masks, strict=True)]
            return np.array(found).T

        base, counts = measure(dense)
        print("{}: dense {:.3f} ± {:.3f} nats a token".format(folder.name, *per_token(base, counts)))
        for method in ("magnitude", "wanda"):
            for sparsity in (0.5, 0.7):
                nats, _ = measure(prune(dense, tokenizer, method, sparsity, calibration))
                mean, error = per_token(nats - base, counts)
                print(f"  {method} {sparsity:.0%}: {mean:+.3f} ± {error:.3f}")


if __name__ == "__main__":
    main()
