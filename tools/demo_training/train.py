"""Train the demo models, each in one process and one thread; a stopped training goes on where it was.

    sap demo train                                                       # both that the package ships, with reports
    PYTHONPATH=tools python -m demo_training.train stories-diffusion     # one of them

`stories-ar` is autoregressive. `stories-diffusion` begins with its weights, as Dream did (Ye et al., arXiv 2508.15487);
`stories-diffusion-scratch`, which the package does not ship, with random weights, as LLaDA did (arXiv 2502.09992).

What the autoregressive model has learned survives if its attention is opened slowly (annealed, as DiffuLLaMA's was:
Gong et al., arXiv 2410.17891). `closed` steps predict the next token of texts with masks in them, to the left only; in
`opening` steps the bias on positions to the right rises from -6 to 0. Opened at once at this size, no step keeps any of
it: the model starts at 6 nats and finds again what it found before in no less time than from random weights.

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
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from demo_training.muon import Muon
from demo_training.report import demo_report
from sap_core.errors import InvalidInput
from sap_core.progress import Progress, ProgressCallback, silent
from sap_core.stories.corpus import generate, vocabulary, words
from sap_core.stories.tokenizer import CONTEXT, SPECIALS, build_tokenizer, canvas_length

AR, DIFFUSION, SCRATCH = "stories-ar", "stories-diffusion", "stories-diffusion-scratch"
#: Seeds from here on are training texts; whoever needs held-out texts uses smaller ones.
FIRST_SEED = 1_000_000_000
IDS = {word: i for i, word in enumerate(SPECIALS + vocabulary())}
PAD, BOS, EOS, MASK = (IDS[token] for token in SPECIALS[:4])


@dataclass(frozen=True)
class Recipe:
    """`steps` of `batch` texts; `lr` of Muon, half of it for AdamW; `decay`: share of the steps in which it falls.

    `hold`, `ramp`: at most a share `least` of a text is masked for `hold` steps, then more, up to all `ramp` steps on.
    While most of a text is in sight it is plain what to look up and where, and looking up is learned sooner.

    `closed`, `opening`: see above; of a model that begins with autoregressive weights.
    """

    steps: int
    batch: int = 32
    lr: float = 0.01
    decay: float = 0.4
    warmup: int = 30
    hold: int = 0
    ramp: int = 1000
    least: float = 0.25
    closed: int = 0
    opening: int = 0
    seed: int = 1


RECIPES = {
    AR: Recipe(700),
    DIFFUSION: Recipe(4800, lr=0.003, decay=0.35, hold=1500, closed=150, opening=600),
    SCRATCH: Recipe(5000, lr=0.003, decay=0.3, hold=2500),
}


def train_demo(
    out_dir: str | Path,
    *,
    seed: int | None = None,
    recipes: dict[str, Recipe] | None = None,
    report: bool = True,
    progress: ProgressCallback = silent,
) -> dict[str, Path]:
    """Train the models of `recipes` (both that the package ships) into `out_dir` and return the folders.

    If `report`, each is measured (`demo_report`).

    A finished model is left as it is. `seed`: instead of the recipes' own.

    Raises:
        InvalidInput: a folder or a state file holds a model of another recipe.
    """
    out, recipes = Path(out_dir), dict(recipes or {name: RECIPES[name] for name in (AR, DIFFUSION)})
    if seed is not None:
        recipes = {name: replace(recipe, seed=seed) for name, recipe in recipes.items()}
    for name, recipe in recipes.items():
        _check_recipe(name, out, recipe)
    folders = {name: train(name, out, recipe, progress=progress) for name, recipe in recipes.items()}
    for folder in folders.values():
        if report and not (folder / "report.json").exists():
            demo_report(folder, progress=progress)
    return folders


def train(name: str, out: Path, recipe: Recipe, *, save_every: int = 50, progress: ProgressCallback = silent) -> Path:
    """Train the model `name` into `out`/`name`, from its state file if there is one, and return that folder."""
    folder, state_file = out / name, _state_file(name, out)
    _check_recipe(name, out, recipe)
    if folder.exists():
        return folder
    out.mkdir(parents=True, exist_ok=True)
    model = build_model(name, recipe.seed)
    if name == DIFFUSION:
        open_up(model, out / AR)
    log = fit(model, recipe, state_file, save_every=save_every, stage=f"train {name}", progress=progress)
    save(folder, model, [{"model": name, **asdict(recipe)}, *log])
    state_file.unlink(missing_ok=True)
    return folder


def fit(
    model,
    recipe: Recipe,
    state_file: Path,
    *,
    save_every: int = 50,
    stage: str = "train",
    progress: ProgressCallback = silent,
) -> list[dict]:
    """Train `model` from where `state_file` was left, writing it every `save_every` steps; return the log."""
    causal = model.config.sap_objective == "autoregressive"
    muon, adam = optimizers(model, recipe.lr)
    log, first = [], 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        log, first = state["log"], state["step"]
    begun, recent = time.monotonic() - (log[-1]["seconds"] if log else 0), []
    for step, tokens in zip(range(first, recipe.steps), texts(recipe, causal, first), strict=True):
        factor = schedule(step, recipe)
        muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = recipe.lr * factor, recipe.lr / 2 * factor
        loss = causal_loss(model, tokens) if causal else masked_loss(model, tokens, step, recipe)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in (muon, adam):
            optimizer.step()
            optimizer.zero_grad()
        recent.append(loss.item())
        if (step + 1) % save_every == 0 or step + 1 == recipe.steps:
            mean, seconds = round(sum(recent) / len(recent), 4), round(time.monotonic() - begun)
            log.append({"step": step + 1, "loss": mean, "lr_factor": round(factor, 3), "seconds": seconds})
            recent = []
            state = {"model": model.state_dict(), "muon": muon.state_dict(), "adam": adam.state_dict()}
            state |= {"log": log, "step": step + 1, "recipe": asdict(recipe)}
            torch.save(state, state_file.with_suffix(".new"))
            os.replace(state_file.with_suffix(".new"), state_file)
        progress(Progress(stage, step + 1, recipe.steps, data=log[-1] if log else {}))
    return log


def causal_loss(model, tokens: Tensor) -> Tensor:
    """Mean of -ln p(token i + 1 | tokens 0..i) over the tokens that are no padding."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)


def masked_loss(model, tokens: Tensor, step: int, recipe: Recipe) -> Tensor:
    """Mean over texts of the mean of -ln p(token | tokens in sight) over the masked tokens.

    In the first `recipe.closed` steps: mean of -ln p(token i + 1 | tokens 0..i in sight) over all tokens.
    """
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    masked = draw_masks(tokens, generator, ceiling=ceiling(step, recipe))
    bias = attention_bias(tokens.shape[1], step, recipe)
    logits = model(input_ids=tokens.masked_fill(masked, MASK), attention_mask=bias, use_cache=False).logits
    if step < recipe.closed:
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    if model.config.sap_shift_logits:  # row i predicts token i + 1, as it did before attention was opened
        logits = torch.cat([logits[:, :1], logits[:, :-1]], dim=1)
    each = F.cross_entropy(logits[masked], tokens[masked], reduction="none")
    weight = (masked / masked.sum(1, keepdim=True))[masked] / len(tokens)
    return each @ weight


def attention_bias(length: int, step: int, recipe: Recipe) -> Tensor | None:
    """(1, 1, length, length): added to the scores of positions to the right; None once attention is open."""
    if step < recipe.closed:
        bias = -1e4
    elif step < recipe.closed + recipe.opening:
        bias = -6 * (1 - (step - recipe.closed) / recipe.opening)
    else:
        return None
    return torch.full((length, length), bias).triu(1)[None, None]


def ceiling(step: int, recipe: Recipe) -> float:
    """Return the largest share of a text that is masked in a step."""
    return min(1.0, recipe.least + (1 - recipe.least) * max(0, step - recipe.hold) / recipe.ramp)


def draw_masks(tokens: Tensor, generator: torch.Generator, ceiling: float = 1.0, prompted: float = 0.4) -> Tensor:
    """(batch, length) bool: k positions, k uniform up to `ceiling` of them and stratified over the batch.

    In a share `prompted` of the texts everything before a random place of the text stays in sight, as when a model
    continues a text: among k random positions of all that hardly ever comes about.
    """
    rows, length = tokens.shape
    place = (torch.rand(rows, generator=generator) * (tokens != EOS).sum(1)).long()
    start = torch.where(torch.rand(rows, generator=generator) < prompted, place, 0)
    share = (torch.randperm(rows, generator=generator) + torch.rand(rows, generator=generator)) / rows
    k = (share * ceiling * (length - start)).long() + 1
    order = torch.rand(rows, length, generator=generator)
    order[torch.arange(length) < start[:, None]] = 2.0
    return order.argsort(1).argsort(1) < k[:, None]


def texts(recipe: Recipe, causal: bool, first: int = 0, pool: int = 16) -> Iterator[Tensor]:
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
        if causal:
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
    """The untrained model: 4 layers, width 192, 6 heads, FFN 384, one matrix for embedding and output head.

    Saying a word again that was read is then the same circuit for every word. It begins half made: every head's output
    matrix is the transpose of its value matrix, so that what is attended to becomes likelier; where to look is left to
    learn. Without it that takes about twice the steps. Above the first layer queries equal keys, so that a position
    begins by attending to words like the one it expects; the autoregressive model learns as fast without.
    """
    config = LlamaConfig(
        vocab_size=len(IDS), hidden_size=192, intermediate_size=384, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=6, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS,
    )  # fmt: skip
    config.sap_objective = "autoregressive" if name == AR else "masked_diffusion"
    if name != AR:
        config.is_causal, config.mask_token_id, config.sap_shift_logits = False, MASK, name == DIFFUSION
    config.architectures = ["LlamaForCausalLM"]
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config).train()
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(std=0.05)
        for layer in model.model.layers:
            attention = layer.self_attn
            torch.nn.init.orthogonal_(attention.v_proj.weight, gain=0.3)
            attention.o_proj.weight.copy_(attention.v_proj.weight.T)
            if layer is not model.model.layers[0]:
                torch.nn.init.orthogonal_(attention.k_proj.weight, gain=0.8)
                attention.q_proj.weight.copy_(attention.k_proj.weight)
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
    os.replace(aside, folder)


def _state_file(name: str, out: Path) -> Path:
    return out / f".{name}.training.pt"


def _check_recipe(name: str, out: Path, recipe: Recipe) -> None:
    """Raise InvalidInput if a model of another recipe is in the way; a state may have been meant for other steps."""
    folder, state_file, wanted = out / name, _state_file(name, out), asdict(recipe)
    found = wanted
    if folder.exists():
        log = folder / "training_log.jsonl"
        if not log.is_file():
            raise InvalidInput(f"{folder} exists and is no demo model: choose another --out, or remove it")
        found = json.loads(log.read_text().splitlines()[0])
        found.pop("model", None)
    elif state_file.exists():
        found = torch.load(state_file, weights_only=True)["recipe"] | {"steps": recipe.steps}
    if found != wanted:
        raise InvalidInput(f"{folder} was trained with {found}, asked was {wanted}: choose another --out, or remove it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--out", type=Path, default=Path("assets/demo"), help="folder of the models")
    parser.add_argument("--steps", type=int, help="instead of the recipe's; also of a training that was stopped")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe = RECIPES[args.model] if args.steps is None else replace(RECIPES[args.model], steps=args.steps)
    print(train(args.model, args.out, recipe, progress=_print_each_log_line()))


def _print_each_log_line() -> ProgressCallback:
    last: dict = {}

    def show(progress: Progress) -> None:
        if progress.data and progress.data != last:
            last.clear()
            last.update(progress.data)
            print(progress.stage, json.dumps(last), flush=True)

    return show


if __name__ == "__main__":
    main()
