"""Both demo models from nothing: seeded, resumable, on two CPU cores.

Order: the autoregressive model first; the diffusion model then starts from its weights and, as Dream (Ye et al.,
arXiv 2508.15487), goes on predicting token i + 1 in row i. It first learns to read texts with words missing under the
causal mask, which then opens bit by bit (Gong et al., arXiv 2410.17891): a model that sees both sides at once forgets
how to look a word up and does not learn it again, for only masked words ask, and only words in sight answer.

Each model's folder holds its weights, its tokenizer and `training_log.jsonl`; while it is being trained a hidden state
file beside it lets a stopped training go on where it was.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from demo_training.batches import batch
from demo_training.objectives import (
    TAKEN_WEIGHT,
    causal_losses,
    mask_ceiling,
    masked_losses,
    open_up,
)
from demo_training.optimizer import build_optimizers, schedule
from demo_training.parallel import Workers, accumulate_gradients
from sap_core.errors import InvalidInput
from sap_core.progress import Progress, ProgressCallback, silent
from sap_core.stories.tokenizer import CONTEXT, SPECIALS, build_tokenizer

AR, DIFFUSION = "stories-ar", "stories-diffusion"


@dataclass(frozen=True)
class Recipe:
    """Steps and sizes of one training; `RECIPES` are those of the shipped models.

    `hold`: share of the steps in which at most half of a text is masked, see `mask_ceiling`. `favour`: how much oftener
    words to look up are masked, see `draw_masks`. `causal_steps`: how many steps of the diffusion model look left only,
    fewer masks at first; `opening_steps`: over how many more the right comes in sight, see `future_bias`.
    `taken_weight`: what the unlikelihood of taken words counts for the diffusion model. `then`: a further training of
    the same model on fresh texts, its optimizers begun anew.
    """

    steps: int
    batch_size: int
    muon_lr: float
    adam_lr: float
    decay_share: float
    hold: float = 0.15
    favour: float = 1.0
    causal_steps: int = 0
    opening_steps: int = 0
    taken_weight: float = TAKEN_WEIGHT
    then: Recipe | None = None


_CYCLE = Recipe(steps=2500, batch_size=16, muon_lr=3e-3, adam_lr=1.5e-3, decay_share=0.8, hold=0.0, favour=3.0)
# What is taken has to be learned from few words a text, and temperature 0 writes the likeliest.
_TAKEN_CYCLE = replace(_CYCLE, steps=1500, decay_share=0.9, taken_weight=20.0)
RECIPES = {
    AR: Recipe(steps=1500, batch_size=16, muon_lr=8e-3, adam_lr=4e-3, decay_share=0.5),
    DIFFUSION: Recipe(
        steps=4800,
        batch_size=16,
        muon_lr=4e-3,
        adam_lr=2e-3,
        decay_share=0.6,
        hold=0.5,
        favour=3.0,
        causal_steps=300,
        opening_steps=400,
        then=replace(_CYCLE, then=_TAKEN_CYCLE),
    ),
}
#: Every batch is split among this many threads, whatever the machine: part of the recipe, for the sums depend on it.
CORES = 2
_LOG_EVERY, _SAVE_EVERY = 25, 100


def train_demo(
    out_dir: str | Path,
    *,
    seed: int = 0,
    recipes: dict[str, Recipe] | None = None,
    report: bool = True,
    progress: ProgressCallback = silent,
) -> dict[str, Path]:
    """Train both models into `out_dir`/stories-ar and `out_dir`/stories-diffusion; returns the two folders.

    With `report` each model is then measured (`demo_report`). A training that was stopped goes on from its last saved
    state; a finished one is left as it is. Raises InvalidInput if a folder holds a model that was trained otherwise
    (another seed or recipe).
    """
    out, recipes = Path(out_dir), recipes or RECIPES
    folders = {name: out / name for name in (AR, DIFFUSION)}
    for name, folder in folders.items():
        _check_resumable(folder, name, recipes[name], seed)
    out.mkdir(parents=True, exist_ok=True)
    _train_one(AR, folders[AR], recipes[AR], seed, progress, start_from=None)
    _train_one(DIFFUSION, folders[DIFFUSION], recipes[DIFFUSION], seed, progress, start_from=folders[AR])
    if report:
        from demo_training.report import demo_report

        for folder in folders.values():
            if not (folder / "report.json").exists():
                demo_report(folder, progress=progress)
    return folders


def build_model(name: str, seed: int = 0):
    """The untrained model of this name: 6 layers, width 192, 6 heads, FFN 512; float32.

    Embedding and output head are one matrix: to say again a word that was read is then the same circuit for every
    word, and looking back is learned in half the steps.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tokenizer(add_bos=name == AR)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config.sap_objective = "autoregressive" if name == AR else "masked_diffusion"
    if name == DIFFUSION:
        config.is_causal = False
        config.mask_token_id = tokenizer.mask_token_id
        config.sap_shift_logits = True
    config.architectures = ["LlamaForCausalLM"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config), tokenizer


def _train_one(
    name: str, folder: Path, recipe: Recipe, seed: int, progress: ProgressCallback, start_from: Path | None
) -> None:
    if (folder / "config.json").exists():
        return
    with Workers(CORES) as workers:
        _run(name, folder, recipe, seed, progress, start_from, workers)


def _run(
    name: str,
    folder: Path,
    recipe: Recipe,
    seed: int,
    progress: ProgressCallback,
    start_from: Path | None,
    workers: Workers,
) -> None:
    model, tokenizer = build_model(name, seed)
    if start_from is not None:
        # through its own class: the file holds the tied matrix once
        model.load_state_dict(type(model).from_pretrained(start_from).state_dict())
        with torch.no_grad():  # the mask was never read before: it begins as the mean word
            words = model.get_input_embeddings().weight
            words[tokenizer.mask_token_id] = words[len(SPECIALS) :].mean(0)
    model.train()
    made_with = _made_with(name, recipe, seed)
    state_file, log, saved = _state_file(folder), [], None
    if state_file.exists():
        saved = torch.load(state_file, weights_only=True)
        model.load_state_dict(saved["model"])
        log = saved["log"]
    first = 0
    total = sum(stage.steps for stage in _stages(recipe))
    for stage in _stages(recipe):
        if saved is None or saved["step"] < first + stage.steps:
            generator = torch.Generator().manual_seed(seed + bool(first))
            _stage(
                model, tokenizer, name == AR, stage, first, seed, generator, log, saved, workers,
                lambda state: _save_state(state_file, state | {"made_with": made_with}),
                lambda done: progress(Progress(f"train {name}", done, total, data=log[-1] if log else {})),
            )  # fmt: skip
            saved = None
        first += stage.steps
    _save_finished(folder, model, tokenizer, log, made_with)
    state_file.unlink(missing_ok=True)


def _stage(
    model, tokenizer, causal: bool, recipe: Recipe, first: int, seed: int, generator: torch.Generator, log: list[dict],
    saved: dict | None, workers: Workers, save: Callable[[dict], None], tell: Callable[[int], None],
) -> None:  # fmt: skip
    """One learning-rate cycle: the recipe's steps from step `first` of the training on, or from where `saved` was."""
    parameters = list(model.parameters())
    optimizers = build_optimizers(model, recipe.muon_lr, recipe.adam_lr, workers)
    base = [o.param_groups[0]["lr"] for o in optimizers]
    begin = 0
    if saved is not None and saved["step"] > first:
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        generator.set_state(saved["generator"])
        begin = saved["step"] - first
    begun, seconds_before, recent = time.monotonic(), log[-1]["seconds"] if log else 0.0, []
    for step in range(begin, recipe.steps):
        factor = schedule(step, recipe.steps, decay_share=recipe.decay_share)
        for optimizer, lr in zip(optimizers, base, strict=True):
            optimizer.param_groups[0]["lr"] = lr * factor
        drawn = batch(first + step, size=recipe.batch_size, seed=seed, causal=causal)
        if causal:
            losses = causal_losses(model, drawn, tokenizer.pad_token_id, workers.n)
        else:
            seen = partial(open_up, model, openness=_openness(step, recipe))
            ceiling = mask_ceiling(step / recipe.steps, recipe.hold) * _first_masks(step, recipe)
            losses = masked_losses(
                seen, drawn, tokenizer.mask_token_id, generator, ceiling, workers.n, recipe.favour, recipe.taken_weight
            )
        recent.append(accumulate_gradients(parameters, losses, workers))
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        done = step + 1
        if done % _LOG_EVERY == 0 or done == recipe.steps:
            seconds = round(seconds_before + time.monotonic() - begun, 1)
            loss = round(sum(recent) / len(recent), 5)
            log.append({"step": first + done, "loss": loss, "lr_factor": round(factor, 4), "seconds": seconds})
            recent = []
        if done % _SAVE_EVERY == 0 or done == recipe.steps:
            save(
                {
                    "model": model.state_dict(),
                    "optimizers": [o.state_dict() for o in optimizers],
                    "generator": generator.get_state(),
                    "log": log,
                    "step": first + done,
                }
            )
        tell(first + done)


def _stages(recipe: Recipe | None) -> Iterator[Recipe]:
    while recipe is not None:
        yield recipe
        recipe = recipe.then


def _openness(step: int, recipe: Recipe) -> float:
    """How far the right is in sight at this step: 0 during the causal steps, then rising to 1."""
    if recipe.opening_steps == 0:
        return float(step >= recipe.causal_steps)
    return min(1.0, max(0.0, (step - recipe.causal_steps) / recipe.opening_steps))


def _first_masks(step: int, recipe: Recipe) -> float:
    """Factor of the mask ceiling: a fifth, rising to 1 over the causal steps."""
    return min(1.0, 0.2 + 0.8 * step / recipe.causal_steps) if recipe.causal_steps else 1.0


def _made_with(name: str, recipe: Recipe, seed: int) -> dict:
    return {"model": name, "seed": seed, **asdict(recipe)}


def _state_file(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.training.pt")


def _save_state(path: Path, state: dict) -> None:
    aside = path.with_suffix(".new")
    torch.save(state, aside)
    os.replace(aside, path)


def _save_finished(folder: Path, model, tokenizer, log: list[dict], made_with: dict) -> None:
    """All files into a folder aside, then one rename: a folder that exists is complete."""
    aside = folder.with_name(f".{folder.name}.new")
    aside.mkdir(exist_ok=True)
    model.eval()
    model.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    # the class name that every release of transformers knows; newer ones write one that older ones lack
    config = json.loads((aside / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (aside / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    lines = [json.dumps(made_with), *(json.dumps(line) for line in log)]
    (aside / "training_log.jsonl").write_text("\n".join(lines) + "\n")
    os.replace(aside, folder)


def _check_resumable(folder: Path, name: str, recipe: Recipe, seed: int) -> None:
    wanted = _made_with(name, recipe, seed)
    found = wanted
    if (folder / "training_log.jsonl").exists():
        found = json.loads((folder / "training_log.jsonl").read_text().splitlines()[0])
    elif folder.exists():
        raise InvalidInput(f"{folder} exists and is no demo model: choose another --out, or remove it")
    elif _state_file(folder).exists():
        found = torch.load(_state_file(folder), weights_only=True)["made_with"]
    if found != wanted:
        raise InvalidInput(f"{folder} was trained with {found}, asked was {wanted}: choose another --out, or remove it")
