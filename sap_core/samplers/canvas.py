"""Build the tokens a sampler starts from, from prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InvalidInput, ModelProblem
from ..models.chat import chat_text

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel


@dataclass(frozen=True)
class Canvas:
    """The initial tokens of a generation.

    Attributes:
        tokens: (batch, length) int64 on the model's device.
        attention_mask: (batch, length), 0 at padding. A canvas of masks has none; without masks it is padded on the
            left, so that all prompts end at the same column.
        prompt_lengths: Tokens of each prompt.
        fill: Positions to write, of the canvas that has most.
        given: (batch, length) bool, the positions that hold a prompt's tokens.
    """

    tokens: Tensor
    attention_mask: Tensor
    prompt_lengths: tuple[int, ...]
    fill: int
    given: Tensor


def build_canvas(model: LoadedModel, prompts: list[str], length: int, *, chat: bool = False) -> Canvas:
    """Return canvases of ``length`` tokens, prompt included, one per prompt.

    Diffusion: the prompt, then mask tokens; a prompt may contain mask tokens itself, which are filled in too. For a
    model whose blocks count from the first token the length is rounded up to whole blocks, as its published samplers
    do. Autoregressive, or without a mask token: padding, the prompt, then room up to ``length`` behind the longest
    prompt.

    Args:
        model: The model, whose tokenizer encodes the prompts.
        prompts: One text per canvas.
        length: Tokens of a canvas.
        chat: Put each prompt into the model's chat template, which has its own special tokens.

    Raises:
        InvalidInput: a prompt longer than the length, an empty one for a model without a start token, or no chat
            template where one is asked for.
        ModelProblem: no tokenizer, or no mask token where one is needed.
    """
    texts = [chat_text(model.info, prompt) for prompt in prompts] if chat else prompts
    return canvas_of_ids(model, [model.encode(text, special=not chat) for text in texts], length)


def canvas_of_ids(model: LoadedModel, prompts: list[list[int]], length: int) -> Canvas:
    """Return `build_canvas` of prompts that are token ids already."""
    longest = max(map(len, prompts)) + model.info.row.reserves_end
    if longest > length:
        raise InvalidInput(f"A prompt has {longest} tokens, the length is {length}; shorten it or raise the length.")
    if model.is_diffusion and model.info.row.has_mask:
        return _diffusion(model, prompts, length)
    return _after_prompts(model, prompts, length)


def _diffusion(model: LoadedModel, prompts: list[list[int]], length: int) -> Canvas:
    mask, row = model.check_masked(), model.info.row
    if model.info.block_size is not None and not row.answer_starts_block:
        length = -(-length // model.info.block_size) * model.info.block_size
    rows, lengths = [], []
    for prompt in prompts:
        closing = prompt[-1:] if row.closes_canvas and _ends(model, prompt) else []
        if row.reserves_end:
            declared = model.info.config.get("pad_token_id")
            prompt = [*prompt, padding_token(model) if declared is None else declared]
            closing = prompt[-1:]
        opening = prompt[: len(prompt) - len(closing)]
        rows.append(opening + [mask] * (length - len(prompt)) + closing)
        lengths.append(len(opening))
    tokens = torch.tensor(rows, dtype=torch.long, device=model.device)
    fill = int((tokens == mask).sum(1).max())
    return Canvas(tokens, torch.ones_like(tokens), tuple(lengths), fill, tokens != mask)


def _ends(model: LoadedModel, prompt: list[int]) -> bool:
    """Return whether the tokenizer added a closing token after the prompt, besides an opening one."""
    closers = {getattr(model.tokenizer, name, None) for name in ("sep_token_id", "eos_token_id")} - {None}
    return len(prompt) > 1 and prompt[-1] in closers


def _after_prompts(model: LoadedModel, prompts: list[list[int]], length: int) -> Canvas:
    prompts = [prompt or _start(model) for prompt in prompts]
    longest = max(map(len, prompts))
    pad = padding_token(model)
    rows = [[pad] * (longest - len(prompt)) + prompt + [pad] * (length - longest) for prompt in prompts]
    tokens = torch.tensor(rows, dtype=torch.long, device=model.device)
    mask = torch.ones_like(tokens)
    for row, prompt in zip(mask, prompts, strict=True):
        row[: longest - len(prompt)] = 0
    given = (torch.arange(length, device=tokens.device) < longest) & mask.bool()
    return Canvas(tokens, mask, tuple(map(len, prompts)), length - longest, given)


def padding_token(model: LoadedModel) -> int:
    """Return the token for positions where nothing is written; it is never attended to."""
    for name in ("pad_token_id", "eos_token_id"):
        value = getattr(model.tokenizer, name, None)
        if value is not None:
            return value
    return 0


def _start(model: LoadedModel) -> list[int]:
    for name in ("bos_token_id", "eos_token_id"):
        value = getattr(model.tokenizer, name, None)
        if value is not None:
            return [value]
    raise ModelProblem(f"{model.info.ref} has no start token, so the prompt can't be empty; give at least one word.")
