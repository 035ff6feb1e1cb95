"""What blocking positions does to the predictions on fixed, partly masked texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from ..evaluation.likelihood import Losses, ScoredPass, scored_passes
from ..progress import Progress, ProgressCallback
from ..sinks.intervals import ratio_interval
from ..texts.rows import TextRow
from .ablated import BY_RUN
from .records import Records
from .selection import Choice


@dataclass(frozen=True)
class TextEffect:
    """Measurements on texts; c conditions, n texts, d draws.

    Attributes:
        nats: [1 + c, n, d], of the whole text; the model as it is first.
        kl: [c, n, d], from the model as it is.
        blocked: [c], mean number of positions that a head can't attend to.
        mass: [c], mean attention that these positions received.
        counted: [n], tokens of each text.
        kind: "bound" or "exact".
    """

    nats: Float[np.ndarray, "_ text draw"]
    kl: Float[np.ndarray, "condition text draw"]
    blocked: Float[np.ndarray, " condition"]
    mass: Float[np.ndarray, " condition"]
    counted: Int[np.ndarray, " text"]
    kind: str

    def intact(self) -> dict[str, Any]:
        """Return the loss of the model as it is."""
        return Losses(self.nats[0].mean(1), self.counted, self.kind).summary()

    def of(self, index: int) -> dict[str, Any]:
        """Return loss, paired difference, KL and the difference at each level of masking of one condition."""
        intact = Losses(self.nats[0].mean(1), self.counted, self.kind)
        changed = Losses(self.nats[1 + index].mean(1), self.counted, self.kind, self.kl[index].mean(1))
        draws = self.nats.shape[2]
        levels = [
            {"masked": [draw / draws, (draw + 1) / draws]}
            | ratio_interval(self.nats[1 + index, :, draw] - self.nats[0, :, draw], self.counted).named(
                "nats_per_token"
            )
            for draw in range(draws)
        ]
        return {
            "positions": self.blocked[index],
            "mass": self.mass[index],
            "likelihood": changed.summary(),
            "difference": changed.minus(intact),
            "kl": changed.divergence(),
            "levels": levels if self.kind == "bound" else [],
        }


def text_effect(
    twin: Any,
    rows: list[TextRow],
    conditions: Sequence[Choice],
    records: Records,
    *,
    draws: int,
    seed: int,
    by: str,
    progress: ProgressCallback,
) -> TextEffect:
    """Return the effect of each condition, from one pass as the model is and one for each condition.

    Args:
        twin: An `ablated` model.
        rows: The texts.
        conditions: What is blocked.
        records: Where each pass is kept once it is done.
        draws: Masks per text (diffusion).
        seed: Of masks and controls.
        by: Each pass's own sinks ("step"), or those of the mean over a text's draws ("run").
        progress: Called after every forward pass.
    """
    passes = list(scored_passes(twin, rows, draws=draws, seed=seed))
    means = _means(twin, passes, len(rows), draws, progress) if by == BY_RUN else None
    per_text = draws if twin.is_diffusion else 1
    nats = np.zeros((1 + len(conditions), len(rows), per_text))
    kl = np.zeros((len(conditions), len(rows), per_text))
    totals = np.zeros((len(conditions), 3))
    each, steps = 1 + len(conditions), (1 + len(conditions)) * len(passes)
    for number, some in enumerate(passes):

        def told(done: int, number: int = number) -> None:
            progress(Progress("texts", number * each + done, steps, "Blocking positions on texts"))

        def measure(some: ScoredPass = some, told: Callable[[int], None] = told) -> dict[str, Any]:
            return _pass(twin, some, conditions, means, seed, told)

        found = records.get(f"text-{number:05d}", measure)
        nats[:, some.texts, some.draws] = found["nats"]
        kl[:, some.texts, some.draws] = found["kl"]
        totals += np.asarray(found["totals"])
        told(each)
    counted = np.array([row.counted for row in rows])
    shares = totals / np.maximum(totals[:, 2:], 1)
    kind = "bound" if twin.is_diffusion else "exact"
    return TextEffect(nats, kl, shares[:, 0], shares[:, 1], counted, kind)


@torch.no_grad()
def _pass(
    twin: Any,
    some: ScoredPass,
    conditions: Sequence[Choice],
    means: Sequence[torch.Tensor] | None,
    seed: int,
    told: Callable[[int], None],
) -> dict[str, Any]:
    inputs = some.inputs.to(twin.device)
    intact, received = twin.look(inputs, None)
    told(1)
    if means is not None:
        received = torch.stack([means[text] for text in some.texts])
    valid = torch.ones(inputs.shape, dtype=torch.bool)
    order = torch.stack(
        [_random(received.shape[1:], seed, text, draw) for text, draw in zip(some.texts, some.draws, strict=True)]
    )
    nats, kl, totals = [some.losses(intact, None)[0]], [], []
    for done, choice in enumerate(conditions):
        blocked = twin.choose(received, valid, choice, order)
        changed = twin.run(inputs, None, blocked)
        loss, apart = some.losses(changed, intact)
        nats.append(loss)
        kl.append(apart)
        totals.append([int(blocked.sum()), float((received * blocked).sum()), _heads(twin, choice) * len(inputs)])
        told(2 + done)
    return {"nats": nats, "kl": kl, "totals": totals}


def _heads(twin: Any, choice: Choice) -> int:
    """Return in how many heads positions are blocked."""
    if choice.head is not None:
        return 1
    return twin.recorder.heads * len(twin.recorder.layers) if twin.allowed is None else int(twin.allowed.sum())


def _random(shape: tuple[int, ...], seed: int, text: int, draw: int) -> torch.Tensor:
    """Return the random numbers of a text's draw, whatever else is in its pass."""
    return torch.from_numpy(np.random.default_rng((seed, int(text), int(draw))).random(shape, dtype=np.float32))


def _means(
    twin: Any, passes: Sequence[ScoredPass], texts: int, draws: int, progress: ProgressCallback
) -> list[torch.Tensor]:
    """Return the attention received in each text, mean over its draws: (layer, head, position) each."""
    sums: list[Any] = [None] * texts
    for number, some in enumerate(passes):
        _, received = twin.look(some.inputs.to(twin.device), None)
        for text, one in zip(some.texts, received, strict=True):
            sums[text] = one if sums[text] is None else sums[text] + one
        progress(Progress("sinks", number + 1, len(passes), "Finding the sinks of whole texts"))
    return [total / (draws if twin.is_diffusion else 1) for total in sums]
