"""One small forward pass after loading, which tests whether attention follows the conventions and output is finite.

Class names and config fields only declare; the output shows. The first row of the logits is computed twice, with all
later tokens different: a causal model gives the same row, a bidirectional one another, a block-causal one another only
if its own block changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..errors import ModelProblem
from ..resources import is_out_of_memory
from ..untrusted import foreign
from .info import ModelInfo
from .loaded import LoadedModel

LENGTH = 8
UNSEEN = 1e-6  # largest change, as a share of the logits' size, of a row that can't see what changed
SEEN = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}


def check_loaded(model: LoadedModel) -> None:
    """Check that a loaded model follows its conventions, and set whether its class leaves padding out.

    Raises:
        ModelProblem: its attention does not follow them, or its output is not finite.
    """
    if model.offloaded:  # a pass brings every weight in from where it lies
        return
    alone = check_outputs(model)
    if alone is not None:
        tokens, logits = alone
        model.pads = _leaves_padding_out(model, tokens, logits, float(logits.abs().max()) or 1.0)


def check_outputs(model: LoadedModel) -> tuple[Tensor, Tensor] | None:
    """Check in one forward pass that a model follows its conventions and its output is finite.

    Returns:
        The tokens [S] and the first row of their logits [V]; None where only whether it runs can be seen.

    Raises:
        ModelProblem: as `check_loaded`.
    """
    info = model.info
    block = info.block_size
    length = LENGTH if block is None else 2 * block
    if info.max_length is not None:
        length = min(length, info.max_length)
    if not info.row.has_mask or length < 2 or (block is not None and length <= block):
        # Its first row is predicted by nothing, or there is no room for two blocks: only whether it runs is seen.
        with trial(info):
            check_numbers(info, model.logits(torch.arange(2)[None] % info.vocab_size))
        return None
    tokens = _tokens(info, length)
    later = _changed(tokens, 1, length, info)
    rows = [tokens, later] if block is None else [tokens, later, _changed(tokens, block, length, info)]
    try:
        with torch.no_grad():
            logits = model.forward(torch.stack(rows).to(model.device), None)[:, 0].double().cpu()
    except Exception as error:  # a config that its class takes and can't compute fails in any way
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ModelProblem(
            f"{info.ref} can't be run: {type(model.module).__name__} fails on {length} ordinary tokens "
            f"({type(error).__name__}: {reason}); its config.json does not fit its class."
        ) from error
    _check_finite(logits, info)
    size = float(logits.abs().max()) or 1.0
    changes = [float((row - logits[0]).abs().max()) / size for row in logits[1:]]
    seen = SEEN.get(model.dtype, 0.1)
    if info.conventions["causal"].value:
        if changes[0] > seen:
            raise ModelProblem(_says(info, "causal", "its first row sees later tokens", "--bidirectional"))
    elif block is None:
        if changes[0] <= UNSEEN:
            raise ModelProblem(_says(info, "bidirectional", "its first row sees no later token", "--causal"))
    elif changes[1] > seen or (block > 1 and changes[0] <= UNSEEN):
        what = "sees tokens of later blocks" if changes[1] > seen else "does not see its own block"
        raise ModelProblem(_says(info, f"in blocks of {block}", f"its first row {what}", "another --block-size"))
    return tokens, logits[0]


@contextmanager
def trial(info: ModelInfo) -> Iterator[None]:
    """Turn whatever a first forward pass raises into ModelProblem: some values of config.json fail only there."""
    with (
        foreign(f"{info.ref} fails in its forward pass", "; config.json does not fit its class", problem=ModelProblem),
        torch.no_grad(),
    ):
        yield


def check_numbers(info: ModelInfo, output: Tensor) -> None:
    """Raise ModelProblem if the result of a forward pass has a NaN: weights too large for their precision."""
    if output.isnan().any():
        raise ModelProblem(
            f"{info.ref} computes NaN from a text of two tokens: its weights overflow; it can't be used."
        )


def _leaves_padding_out(model: LoadedModel, tokens: Tensor, alone: Tensor, size: float) -> bool:
    """Return whether padding beside a text leaves its first row unchanged.

    Padding is added to the right, or to the left for a model that writes from left to right. Convolutions and
    recurrences do not ignore it.
    """
    padding = torch.zeros_like(tokens)
    diffusion = model.is_diffusion
    both = [tokens, padding] if diffusion else [padding, tokens]
    valid = torch.cat([torch.full_like(part, int(part is tokens)) for part in both])
    ids = torch.cat(both)
    longest = model.info.max_length
    if longest is not None and len(ids) > longest:
        return True
    try:
        with torch.no_grad():
            rows = model.forward(ids[None].to(model.device), valid[None].to(model.device))[0].double().cpu()
    except Exception:  # a class that takes no mask
        return False
    return float((rows[0 if diffusion else len(tokens)] - alone).abs().max()) / size <= SEEN.get(model.dtype, 0.1)


def _says(info: ModelInfo, promised: str, found: str, option: str) -> str:
    known = info.conventions["causal" if "block" not in promised else "block_size"].known
    how = {"declared": "config.json", "given": "the options", "family": f"its family ({info.title})"}[known]
    return (
        f"{info.ref}: attention is {promised} by {how}, but in the class that computes it "
        f"({info.native_config.get('model_type')}) {found}. Give {option}, if that is what the model was trained with; "
        "otherwise it can't be run right here."
    )


def _check_finite(logits: Tensor, info: ModelInfo) -> None:
    if not torch.isfinite(logits).all():
        raise ModelProblem(
            f"{info.ref}: the output for {LENGTH} ordinary tokens is not finite (NaN or infinity); its weights hold "
            "such values, or its numbers leave the range of the precision: try another dtype."
        )


def _tokens(info: ModelInfo, length: int) -> Tensor:
    """Return ordinary tokens: spread over the vocabulary, without the mask token."""
    size = info.vocab_size
    tokens = [(7 + 37 * i) % size for i in range(length)]
    return torch.tensor([_other(token, info) if token == info.mask_token_id else token for token in tokens])


def _changed(tokens: Tensor, start: int, stop: int, info: ModelInfo) -> Tensor:
    changed = tokens.clone()
    changed[start:stop] = torch.tensor([_other(int(token), info) for token in tokens[start:stop]])
    return changed


def _other(token: int, info: ModelInfo) -> int:
    other = (token + 1) % info.vocab_size
    return other if other != info.mask_token_id else (other + 1) % info.vocab_size
