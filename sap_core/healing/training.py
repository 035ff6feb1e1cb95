"""The training loop: batches that follow from seed and step, one optimizer, measurements on held-out texts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import kl_div

from ..errors import OperationFailed
from ..evaluation.likelihood import text_likelihood
from ..models.row_positions import shift_back
from ..progress import Progress, ProgressCallback
from ..texts.rows import TextRow
from .learner import Learner
from .moving_mask import moved, share_at
from .state import Progressed, StateFile

if TYPE_CHECKING:
    from ..evaluation.splits import TextSplit
    from ..models.loaded import LoadedModel

_HELD_LOGITS = 1 << 24  # logits of one model held at once while gradients are computed
_WARM_UP = 0.05
_CLIP = 1.0
_CHECK_DRAWS = 2
_REMEMBERED = {"first": "exp_avg", "second": "exp_avg_sq", "count": "step"}  # by AdamW, per parameter


def train(
    learner: Learner, teacher: LoadedModel, texts: TextSplit, file: StateFile, progress: ProgressCallback
) -> dict[str, Any]:
    """Train until the steps are done or held-out texts show no more gain, and load the best weights.

    Returns:
        {"steps" (done), "asked", "stopped" ("steps" or "held-out"), "best_step", "checks" (measurements on held-out
        texts, the first before training)}.

    Raises:
        OperationFailed: the loss is not finite.
        Cancelled: from ``progress``; the file has the state of the last measurement.
    """
    spec = learner.spec
    optimizer = torch.optim.AdamW(learner.parameters.values(), lr=spec.largest_rate, weight_decay=0.0)
    now = _resumed(learner, optimizer, file.read())
    if not now.checks:
        now.checks.append(_check(learner, teacher, texts, 0, None))
        now.best_weights = _weights(learner)
    lengths = tuple(len(row.tokens) for row in texts.train.rows)
    losses: list[float] = []
    while now.step < spec.steps and not _waited_enough(now, spec.patience):
        rows = [texts.train.rows[i] for i in batch_at(now.step, lengths, spec.batch, spec.seed)]
        losses.append(_step(learner, teacher, optimizer, rows, now.step))
        now.step += 1
        held_out = now.checks[-1]["kl"]
        told = f"KL {losses[-1]:.4g}, held-out {held_out:.4g}"
        progress(Progress("heal", now.step, spec.steps, told, {"loss": losses[-1], "held_out": held_out}))
        if now.step % spec.check_every == 0 or now.step == spec.steps:
            now.checks.append(_check(learner, teacher, texts, now.step, float(np.mean(losses))))
            losses = []
            if now.checks[-1]["kl"] < now.checks[now.best]["kl"]:
                now.best, now.best_weights = len(now.checks) - 1, _weights(learner)
            file.write(now, lambda: _weights(learner) | _moments(learner, optimizer))
    _load(learner, now.best_weights)
    return {
        "steps": now.step,
        "asked": spec.steps,
        "stopped": "steps" if now.step >= spec.steps else "held-out",
        "best_step": now.checks[now.best]["step"],
        "checks": now.checks,
    }


def batch_at(step: int, lengths: tuple[int, ...], batch: int, seed: int) -> list[int]:
    """Return the indices of the texts of one step; each text is used once before any is used again."""
    each = max(1, len(lengths) // batch)
    return _epoch(step // each, lengths, batch, seed)[step % each]


@lru_cache(maxsize=2)
def _epoch(epoch: int, lengths: tuple[int, ...], batch: int, seed: int) -> list[list[int]]:
    """Return the batches of one pass through the texts, of texts of similar lengths, in random order."""
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(lengths))
    pool = 16 * batch
    pools = [sorted(order[start : start + pool], key=lambda i: lengths[i]) for start in range(0, len(order), pool)]
    inside = [int(i) for some in pools for i in some]
    count = max(1, len(lengths) // batch)
    batches = [inside[i * batch : (i + 1) * batch] for i in range(count)]
    return [batches[i] for i in generator.permutation(count)]


def _step(
    learner: Learner, teacher: LoadedModel, optimizer: torch.optim.Optimizer, rows: list[TextRow], step: int
) -> float:
    """Make one step and return the loss before it: the mean over texts of the KL per predicted token."""
    spec, total = learner.spec, 0.0
    rate = learning_rate(step, spec.steps, spec.largest_rate)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    for tokens, clean, where in _parts(learner.model, rows, spec.seed, step):
        total += _backward(learner, teacher, tokens, clean, where, len(rows))
    if not math.isfinite(total):
        raise OperationFailed(
            f"the loss of step {step + 1} is not finite (NaN or infinity); give a smaller learning rate than "
            f"{spec.largest_rate:g}."
        )
    if spec.moving_mask and step % spec.move_every == 0:
        _move(learner, optimizer, share_at(step, spec.steps, spec.move_share))
    for name, mask in learner.masks.items():
        gradient = learner.parameters[name].grad
        if gradient is not None:
            gradient.mul_(mask)
    torch.nn.utils.clip_grad_norm_(learner.parameters.values(), _CLIP)
    optimizer.step()
    learner.keep_zeros()
    return total


def learning_rate(step: int, steps: int, largest: float) -> float:
    """Return the rate of a step: it rises during the first twentieth, then falls by a cosine to a tenth."""
    warm = max(1, int(_WARM_UP * steps))
    if step < warm:
        return largest * (step + 1) / warm
    return largest * (0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def _parts(
    model: LoadedModel, rows: list[TextRow], seed: int, step: int
) -> Iterator[tuple[Int[Tensor, "row token"], Int[Tensor, "row token"], Bool[Tensor, "row token"]]]:
    """Yield (what the model sees, the clean texts, where it predicts) of texts of one length, a few at a time."""
    generator = np.random.default_rng((seed, step, 1))
    shares = (generator.permutation(len(rows)) + generator.random(len(rows))) / len(rows)  # stratified over the batch
    groups: dict[int, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for share, row in zip(shares, rows, strict=True):
        where = row.scored
        if model.is_diffusion:
            scored = np.flatnonzero(row.scored)
            where = np.zeros(len(row.tokens), bool)
            where[generator.permutation(scored)[: int(share * len(scored)) + 1]] = True
        groups[len(row.tokens)].append((row.tokens, where))
    for length, members in sorted(groups.items()):
        at_once = max(1, _HELD_LOGITS // (length * model.info.vocab_size))
        for start in range(0, len(members), at_once):
            tokens, where = (np.stack(each) for each in zip(*members[start : start + at_once], strict=True))
            clean, here = torch.from_numpy(tokens), torch.from_numpy(where)
            yield clean.masked_fill(here, model.check_masked()) if model.is_diffusion else clean, clean, here


def _backward(learner: Learner, teacher: LoadedModel, tokens: Tensor, clean: Tensor, where: Tensor, rows: int) -> float:
    """Add the gradients of a part of a batch; return its share of the batch's loss."""
    model = learner.model
    reference = teacher.logits(tokens.to(teacher.device))
    if not model.is_diffusion:
        reference = shift_back(reference)
    here = where.to(model.device)
    with torch.enable_grad():
        with learner.computing():
            output = model.forward(tokens.to(model.device), None)
        if not model.is_diffusion or model.info.shift_logits:
            output = shift_back(output)
        q = output[here.to(output.device)].float().log_softmax(-1)
        p = reference[where.to(reference.device)].to(q.device).log_softmax(-1)
        each = kl_div(q, p, log_target=True, reduction="none").sum(-1)
        # the mean over a text's predicted tokens, so that a text counts as in the likelihood's bound
        weight = (1.0 / (where.sum(1).clamp(min=1) * rows))[where.nonzero()[:, 0]].to(each.device)
        loss = (each * weight).sum()
        loss.backward()
    return float(loss.detach())


@torch.no_grad()
def _move(learner: Learner, optimizer: torch.optim.Optimizer, share: float) -> None:
    """Drop and grow in every matrix that has zeros; what the optimizer remembers of either place is forgotten."""
    for name, mask in learner.masks.items():
        parameter = learner.parameters[name]
        if parameter.grad is None:
            continue
        learner.masks[name] = moved(mask, parameter, parameter.grad, share)
        changed = learner.masks[name] != mask
        for kept in ("exp_avg", "exp_avg_sq"):
            if kept in optimizer.state[parameter]:
                optimizer.state[parameter][kept].masked_fill_(changed, 0)


def _check(learner: Learner, teacher: LoadedModel, texts: TextSplit, step: int, loss: float | None) -> dict[str, Any]:
    """Return {"step", "kl", "nats_per_token", "loss" (mean since the last)} on the held-out texts."""
    with learner.computing():
        found = text_likelihood(
            learner.model, texts.validation.rows, draws=_CHECK_DRAWS, seed=learner.spec.seed, reference=teacher
        )
    divergence = found.divergence() or {}
    nats = found.summary()["nats_per_token"]
    return {"step": step, "kl": divergence["nats_per_token"], "nats_per_token": nats, "loss": loss}


def _waited_enough(now: Progressed, patience: int) -> bool:
    return bool(patience) and len(now.checks) - 1 - now.best >= patience


def _weights(learner: Learner) -> dict[str, Tensor]:
    """Return a copy of what is trained, and of the masks, in main memory."""
    found = {f"weight/{name}": parameter for name, parameter in learner.parameters.items()}
    found |= {f"mask/{name}": mask for name, mask in learner.masks.items()}
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in found.items()}


def _moments(learner: Learner, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what the optimizer remembers."""
    return {
        f"{part}/{name}": optimizer.state[parameter][kept]
        for name, parameter in learner.parameters.items()
        for part, kept in _REMEMBERED.items()
        if kept in optimizer.state[parameter]
    }


@torch.no_grad()
def _load(learner: Learner, tensors: dict[str, Tensor]) -> None:
    for name, parameter in learner.parameters.items():
        parameter.copy_(tensors[f"weight/{name}"])
    for name in learner.masks:
        learner.masks[name] = tensors[f"mask/{name}"].to(learner.masks[name].device)


def _resumed(learner: Learner, optimizer: torch.optim.Optimizer, kept: Progressed | None) -> Progressed:
    """Return the state to begin with, loaded into the model and the optimizer."""
    if kept is None:
        return Progressed()
    _load(learner, kept.tensors)
    for name, parameter in learner.parameters.items():
        if f"first/{name}" in kept.tensors:
            found = {key: kept.tensors[f"{part}/{name}"] for part, key in _REMEMBERED.items()}
            on_device = {key: value.to(parameter.device) for key, value in found.items() if key != "step"}
            optimizer.state[parameter] = {"step": found["step"], **on_device}
    return kept
