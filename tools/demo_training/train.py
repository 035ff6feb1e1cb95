"""Train the three demo models, each in one process and one thread; a stopped training goes on where it was.

    python tools/demo_training/train.py stories-ar                  # first
    python tools/demo_training/train.py stories-diffusion           # from the weights of stories-ar, attention opened
    python tools/demo_training/train.py stories-diffusion-scratch   # from random weights
    python tools/demo_training/report.py                            # measure all three: report.json

Texts: every step draws fresh ones. Loss, in nats per token: for the autoregressive model the mean of -ln p(next token);
for a diffusion model the mean over texts of the mean over masked tokens of -ln p(token | tokens in sight), the number
of masked tokens uniform on 1..n. That is the likelihood bound of LLaDA (Nie et al., arXiv 2502.09992, eq. 14) divided
by n; nothing is weighted. Optimizer: Muon for the matrices of the layers, AdamW for the rest; the learning rate warms
up, stays, and falls linearly to zero over the last part (so that a longer training can go on from a shorter one's
state).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sap_core.stories.corpus import generate, vocabulary, words
from sap_core.stories.tasks import canvas_length
from sap_core.stories.tokenizer import CONTEXT, SPECIALS, build_tokenizer
from tools.demo_training.muon import Muon

AR, DIFFUSION, SCRATCH = "stories-ar", "stories-diffusion", "stories-diffusion-scratch"
#: Seeds from here on are training texts; whoever needs held-out texts uses smaller ones.
FIRST_SEED = 1_000_000_000
IDS = {word: i for i, word in enumerate(SPECIALS + vocabulary())}
PAD, BOS, EOS, MASK = (IDS[token] for token in SPECIALS[:4])


@dataclass(frozen=True)
class Recipe:
    """`steps` of `batch` texts; `lr` of Muon, half of it for AdamW; `decay`: share of the steps in which it falls."""

    steps: int
    batch: int = 32
    lr: float = 0.01
    decay: float = 0.4
    warmup: int = 30
    seed: int = 1


RECIPES = {AR: Recipe(600), DIFFUSION: Recipe(3000), SCRATCH: Recipe(4000)}


def train(name: str, out: Path, recipe: Recipe, save_every: int = 100) -> Path:
    """Train the model `name` into `out`/`name`, from its state file if there is one, and return that folder."""
    folder, state_file = out / name, out / f".{name}.training.pt"
    out.mkdir(parents=True, exist_ok=True)
    model = build_model(name, recipe.seed)
    if name == DIFFUSION:
        open_up(model, out / AR)
    muon, adam = optimizers(model, recipe.lr)
    log, first = [], 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        log, first = state["log"], state["step"]
    begun, recent = time.monotonic() - (log[-1]["seconds"] if log else 0), []
    for step, tokens in zip(range(first, recipe.steps), texts(name, recipe, first), strict=False):
        factor = schedule(step, recipe)
        muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = recipe.lr * factor, recipe.lr / 2 * factor
        loss = causal_loss(model, tokens) if name == AR else masked_loss(model, tokens, step, recipe.seed)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in (muon, adam):
            optimizer.step()
            optimizer.zero_grad()
        recent.append(loss.item())
        if (step + 1) % save_every == 0 or step + 1 == recipe.steps:
            mean, seconds = round(sum(recent) / len(recent), 4), round(time.monotonic() - begun)
            log.append({"step": step + 1, "loss": mean, "lr_factor": round(factor, 3), "seconds": seconds})
            print(name, json.dumps(log[-1]), flush=True)
            recent = []
            state = {"model": model.state_dict(), "muon": muon.state_dict(), "adam": adam.state_dict()}
            torch.save(state | {"log": log, "step": step + 1}, state_file.with_suffix(".new"))
            os.replace(state_file.with_suffix(".new"), state_file)
    save(folder, model, [{"model": name, **asdict(recipe)}, *log])
    return folder


def causal_loss(model, tokens: Tensor) -> Tensor:
    """Mean of -ln p(token i + 1 | tokens 0..i) over the tokens that are no padding."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)


def masked_loss(model, tokens: Tensor, step: int, seed: int) -> Tensor:
    """Mean over texts of the mean of -ln p(token | tokens in sight) over the masked tokens."""
    masked = draw_masks(tokens, torch.Generator().manual_seed(seed * 1_000_003 + step))
    logits = model(input_ids=tokens.masked_fill(masked, MASK), use_cache=False).logits
    if model.config.sap_shift_logits:  # row i predicts token i + 1, as it did before attention was opened
        logits = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)
    each = F.cross_entropy(logits[masked], tokens[masked], reduction="none")
    weight = (masked / masked.sum(1, keepdim=True))[masked] / len(tokens)
    return each @ weight


def draw_masks(tokens: Tensor, generator: torch.Generator, prompted: float = 0.4) -> Tensor:
    """(batch, length) bool: k positions, k uniform and stratified over the batch.

    In a share `prompted` of the texts everything before a random place of the text stays in sight, as when a model
    continues a text: among k random positions of all that hardly ever comes about.
    """
    rows, length = tokens.shape
    place = (torch.rand(rows, generator=generator) * (tokens != EOS).sum(1)).long()
    start = torch.where(torch.rand(rows, generator=generator) < prompted, place, 0)
    share = (torch.randperm(rows, generator=generator) + torch.rand(rows, generator=generator)) / rows
    k = (share * (length - start)).long() + 1
    order = torch.rand(rows, length, generator=generator)
    order[torch.arange(length) < start[:, None]] = 2.0
    return order.argsort(1).argsort(1) < k[:, None]


def texts(name: str, recipe: Recipe, first: int, pool: int = 16) -> Iterator[Tensor]:
    """Token ids (batch, length) of step `first` and those after it, a function of the recipe's seed and the step.

    `pool` batches are drawn at once and sorted by length, so that little of a batch is padding. Autoregressive: <bos>
    text <eos> <pad>...; diffusion: text <eos> <eos>... on the canvas the tasks use, one in ten on a longer one.
    """
    for step in range(first, recipe.steps):
        index, place = divmod(step, pool)
        if step == first or place == 0:
            begin = FIRST_SEED * (recipe.seed + 1) + index * pool * recipe.batch
            drawn = [words(generate(seed).text) for seed in range(begin, begin + pool * recipe.batch)]
            drawn = sorted(([IDS[word] for word in text] for text in drawn), key=len)
            order = random.Random(f"{recipe.seed} {index}").sample(range(pool), pool)
        rows = drawn[order[place] * recipe.batch :][: recipe.batch]
        if name == AR:
            width = len(rows[-1]) + 2
            yield torch.tensor([[BOS, *row, EOS] + [PAD] * (width - len(row) - 2) for row in rows])
        else:
            longer = 32 if random.Random(f"canvas {recipe.seed} {step}").random() < 0.1 else 0
            width = canvas_length(len(rows[-1]) + 1) + longer
            yield torch.tensor([row + [EOS] * (width - len(row)) for row in rows])


def schedule(step: int, recipe: Recipe) -> float:
    """Factor of the learning rate: up to 1 over the warm-up, 1, then linearly to 0 over the last share."""
    return min(1.0, (step + 1) / recipe.warmup, (recipe.steps - step) / (recipe.decay * recipe.steps))


def build_model(name: str, seed: int = 1) -> LlamaForCausalLM:
    """The untrained model: 4 layers, width 128, 4 heads, FFN 384, one matrix for embedding and output head.

    With one matrix, saying a word again that was read is the same circuit for every word and sooner learned.
    """
    config = LlamaConfig(
        vocab_size=len(IDS), hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS,
    )  # fmt: skip
    config.sap_objective = "autoregressive" if name == AR else "masked_diffusion"
    if name != AR:
        config.is_causal, config.mask_token_id, config.sap_shift_logits = False, MASK, name == DIFFUSION
    config.architectures = ["LlamaForCausalLM"]
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config).train()
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = name == AR
    return model


def open_up(model: LlamaForCausalLM, causal: Path) -> None:
    """Take the weights of the autoregressive model; the mask, never read before, begins as the mean word."""
    model.load_state_dict(LlamaForCausalLM.from_pretrained(causal).state_dict())
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight
        embedding[MASK] = embedding[len(SPECIALS) :].mean(0)


def optimizers(model, lr: float) -> tuple[Muon, torch.optim.AdamW]:
    inside = {name: p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name}
    rest = [p for name, p in model.named_parameters() if name not in inside]
    return Muon(inside.values(), lr), torch.optim.AdamW(rest, lr=lr / 2, betas=(0.9, 0.95), weight_decay=0.0)


def save(folder: Path, model, log: list[dict]) -> None:
    """All files into a folder aside, then one rename: a folder that exists is complete."""
    tokenizer = build_tokenizer(add_bos=folder.name == AR)
    aside = folder.with_name(f".{folder.name}.new")
    model.eval().save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    # the class name that every release of transformers knows; newer ones write one that older ones lack
    config = json.loads((aside / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (aside / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (aside / "training_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    if folder.exists():
        folder.rename(folder.with_name(f".{folder.name}.old"))
    aside.rename(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--out", type=Path, default=Path("assets/demo"), help="folder of the models")
    parser.add_argument("--steps", type=int, help="instead of the recipe's; a state of fewer steps is gone on from")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe = RECIPES[args.model] if args.steps is None else replace(RECIPES[args.model], steps=args.steps)
    print(train(args.model, args.out, recipe))


if __name__ == "__main__":
    main()
