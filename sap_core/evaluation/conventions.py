"""Measure which conventions a model was trained with: causal or not, logits shifted or not, and the block size.

Every combination predicts the same tokens of the same texts, a few at the end of each window, with the same tokens
before them: a causal reading from the rows before, the others in place of mask tokens. The combination the model was
trained with explains the texts far better than the others; nothing else differs between them.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..errors import InvalidInput, ModelProblem, SapError, required
from ..models.block_causal import BlockCausalModel
from ..models.inspection import inspect_model
from ..models.loaded import LoadedModel
from ..models.loading import load_model
from ..progress import Progress, ProgressCallback, silent
from ..specs.model import CONVENTIONS
from ..stories.corpus import generate
from ..texts.rows import MOST_UNKNOWN
from ..texts.source import TextSource, read_texts
from .tasks import knows_stories
from .texts import FIRST_STORY

BLOCKS = (4, 8, 16, 32)
WINDOWS, TARGETS, DRAWS = 24, 4, 2
LENGTHS = (64, 32)  # of a window: the first that the texts give enough of; whole blocks of every size tried
FAR = 0.3  # nats per token by which another combination has to be better, beside four standard errors
PLAIN = (
    "The kitchen was quiet in the morning. She put the kettle on the stove, took two cups from the shelf and waited "
    "for the water to boil, while the cat slept on the chair by the window and the rain ran down the glass.",
    "Most plants need light, water and air to grow. Their leaves take in light and make sugar from it, and their roots "
    "take up water and salts from the soil. In winter many trees lose their leaves and rest until spring.",
    "The train to the coast leaves at nine and arrives a little before noon. There is a small station near the "
    "harbour, and from there it is a short walk along the river to the old town and its market square.",
    "To find the mean of a list of numbers, add all of them and divide the sum by how many there are. The median is "
    "the number in the middle after they have been sorted, and it changes less when one of them is very large.",
)


@dataclass(frozen=True)
class Reading:
    """One combination of conventions and its losses per window; None, with a ``note``, if it can't be run."""

    causal: bool
    shift_logits: bool
    block_size: int
    losses: np.ndarray | None = None
    note: str = ""
    in_use: bool = False

    @property
    def options(self) -> str:
        """The options of the command line that load a model this way."""
        if self.causal:
            return "--causal"
        shift = "--shift-logits" if self.shift_logits else "--no-shift-logits"
        return f"--bidirectional {shift} --block-size {self.block_size}"

    @property
    def nats(self) -> float | None:
        """Mean nats per token; None if it can't be run."""
        return None if self.losses is None else float(self.losses.mean())

    def to_dict(self) -> dict[str, Any]:
        """Return the reading, JSON-able."""
        names = ("causal", "shift_logits", "block_size", "options", "note", "in_use")
        return {**{name: getattr(self, name) for name in names}, "nats_per_token": self.nats}


@dataclass(frozen=True)
class ConventionsReport:
    """The readings of a model, and whether one is better than what is in use.

    Attributes:
        readings: Best first, those that can't be computed last.
        better: The reading that explains the texts far better than the one in use, or the best one if none is in use;
            None if the one in use is as good.
        alike: Options of readings that can't be told apart from it.
    """

    model: str
    texts: str
    windows: int
    readings: tuple[Reading, ...]
    better: Reading | None
    alike: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        used = next((reading for reading in self.readings if reading.in_use), None)
        if self.better is None:
            if used is None:
                return "No combination predicts these texts clearly better than the others: give texts of its training."
            return f"What is in use ({used.options}) explains these texts as well as any other: {used.nats:.2f} nats."
        also = f" ({len(self.alike)} more can't be told from it)" if self.alike else ""
        result = f"{self.better.options}{also} explains these texts best, {self.better.nats:.2f} nats per token"
        if used is None:
            return f"{result}; load the model with it."
        against = "which can't be computed" if used.nats is None else f"{used.nats:.2f}"
        return f"{result}, far better than what is in use ({used.options}), {against}; load the model with it."

    def to_dict(self) -> dict[str, Any]:
        """Return the report, JSON-able."""
        return {
            "model": self.model,
            "measured_on": self.texts,
            "windows": self.windows,
            "readings": [reading.to_dict() for reading in self.readings],
            "better": None if self.better is None else self.better.to_dict(),
            "alike": list(self.alike),
            "verdict": self.verdict,
        }


def check_conventions(
    model: str, *, text: str | None = None, progress: ProgressCallback | None = None, **loading: Any
) -> ConventionsReport:
    """Measure how well each combination of conventions explains a few texts.

    Args:
        model: demo:NAME, a folder, or a Hub id.
        text: FILE.txt, one text per line; default: stories for the demo models, else a few plain English sentences.
        progress: Called after every reading.
        **loading: As `load_model` takes it; conventions among it are those in use.

    Raises:
        ModelProblem: a model whose conventions are fixed, without a tokenizer, or none of whose readings can be run.
        InvalidInput: texts that can't be read, are too short, or are unknown to the tokenizer.
    """
    progress = progress or silent
    given = {name: loading.get(name) for name in CONVENTIONS}
    rest = {name: value for name, value in loading.items() if name not in CONVENTIONS}
    mask = {"mask_token_id": given["mask_token_id"]}
    used = _in_use(model, given)
    readings: list[Reading] = []
    windows: _Windows | None = None
    for turn, causal in enumerate((False, True)):
        progress(Progress("check", turn, 2, "Reading both ways"))
        conventions: dict[str, Any] = {"causal": True}
        if not causal:
            conventions = {"causal": False, "shift_logits": False, "block_size": 0}
        try:
            loaded = load_model(model, **rest, **(mask if not causal else {}), **conventions)
            if not loaded.info.row.has_mask:
                raise ModelProblem(f"{model} denoises random tokens by rules of its own; its conventions are fixed.")
            windows = windows or _windows(loaded, text)
            readings += _causal(loaded, windows) if causal else _denoising(loaded, windows)
        except InvalidInput as error:
            if not isinstance(error, ModelProblem):
                raise
            readings.append(Reading(causal, causal, 0, note=str(error)))
        loaded = None
        gc.collect()
    progress(Progress("check", 2, 2, "Compared"))
    if windows is None or all(reading.losses is None for reading in readings):
        raise ModelProblem(f"{model} can't be read in any way: {readings[0].note}")
    readings = [replace(r, in_use=(r.causal, r.shift_logits or r.causal, r.block_size) == used) for r in readings]
    readings.sort(key=lambda reading: (reading.losses is None, reading.nats or 0.0))
    better, alike = _verdict(readings)
    return ConventionsReport(model, windows.source, len(windows.tokens) // DRAWS, tuple(readings), better, alike)


@dataclass(frozen=True)
class _Windows:
    """Texts as windows: ``tokens`` int64 [n, length]; ``targets`` bool [n, length]; ``source`` in words."""

    tokens: Tensor
    targets: Tensor
    source: str


def _in_use(model: str, given: dict[str, Any]) -> tuple[bool, bool, int] | None:
    """Return (causal, shifted, block size) as the model would be loaded; None if nothing declares it."""
    try:
        result = inspect_model(model, **given).conventions
    except SapError:
        return None
    return bool(result["causal"].value), bool(result["shift_logits"].value), result["block_size"].value or 0


def _windows(model: LoadedModel, text: str | None) -> _Windows:
    if text is not None:
        texts = read_texts(TextSource(text))
        source = f"{len(texts)} texts of {text}"
    else:
        texts, source = list(PLAIN), "four plain English texts"
        if knows_stories(model):
            texts = [generate(FIRST_STORY + i).text for i in range(16)]
            source = "16 held-out stories"
    rows = [model.encode(each, special=False) for each in texts]
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    fraction = sum(row.count(unknown) for row in rows) / max(sum(map(len, rows)), 1) if unknown is not None else 0.0
    if fraction > MOST_UNKNOWN:
        raise InvalidInput(
            f"{fraction:.0%} of the tokens of {source} are unknown to the tokenizer of {model.info.ref}, so they say "
            "nothing of it; give texts of the kind it was trained on (--text FILE, one a line)."
        )
    joined = [token for row in rows for token in row]  # for short texts: windows of all of them in a row
    ways = [(given, length) for given in (rows, [joined]) for length in LENGTHS]
    pieces = next((result for given, length in ways if len(result := _pieces(given, length)) >= 4), [])
    if not pieces:
        raise InvalidInput(f"{source} have {len(joined)} tokens; at least {4 * LENGTHS[-1]} are needed.")
    chosen = np.random.default_rng(0).permutation(len(pieces))[:WINDOWS]
    tokens = torch.tensor([pieces[i] for i in sorted(chosen)]).repeat(DRAWS, 1)
    targets = torch.zeros(tokens.shape, dtype=torch.bool)
    targets[:, -TARGETS:] = torch.rand(len(tokens), TARGETS, generator=torch.Generator().manual_seed(0)) < 0.5
    targets[:, -1] |= ~targets.any(1)
    return _Windows(tokens, targets, source)


def _pieces(rows: list[list[int]], length: int) -> list[list[int]]:
    return [row[i : i + length] for row in rows for i in range(0, len(row) - length + 1, length)]


def _causal(model: LoadedModel, windows: _Windows) -> list[Reading]:
    logits = model.logits(windows.tokens.to(model.device))
    return [Reading(True, True, 0, _losses(logits, windows, shifted=True))]


def _denoising(model: LoadedModel, windows: _Windows) -> list[Reading]:
    masked = windows.tokens.masked_fill(windows.targets, model.check_masked()).to(model.device)
    result = []
    blocks = type(model) is LoadedModel
    sizes = [0, *(size for size in BLOCKS if blocks and size < masked.shape[1])]
    for size in sizes:
        reader = model
        if size:
            reader = BlockCausalModel(model.module, model.tokenizer, replace(model.info, block_size=size))
        with torch.no_grad():
            logits = reader.forward(masked, None).float()
        result += [Reading(False, shift, size, _losses(logits, windows, shift)) for shift in (False, True)]
    return result


def _losses(logits: Tensor, windows: _Windows, shifted: bool) -> np.ndarray:
    """Return the nats per token of each window; both draws of a window are one number."""
    rows = torch.cat([logits[:, :1], logits[:, :-1]], 1) if shifted else logits
    rows = rows.cpu()
    nats = cross_entropy(rows.transpose(1, 2), windows.tokens, reduction="none")
    if not torch.isfinite(nats[windows.targets]).all():
        raise ModelProblem("its predictions are not finite (NaN or infinity) when it is read this way.")
    per_window = (nats * windows.targets).sum(1) / windows.targets.sum(1)
    return per_window.view(DRAWS, -1).mean(0).double().numpy()


def _verdict(readings: list[Reading]) -> tuple[Reading | None, tuple[str, ...]]:
    best, *others = [reading for reading in readings if reading.losses is not None]
    used = next((reading for reading in readings if reading.in_use), None)
    alike = tuple(other.options for other in others if not _apart(best, other, 2.0, 0.0))
    if used is None:
        clear = [other for other in others if other.options not in alike]
        return (best, alike) if clear and _apart(best, clear[0], 2.0, 0.0) else (None, ())
    if used.losses is None or _apart(best, used, 4.0, FAR):
        return best, alike
    return None, ()


def _apart(better: Reading, worse: Reading, errors: float, least: float) -> bool:
    """Return whether one reading is better by more than ``least`` nats and ``errors`` standard errors over windows."""
    difference = required(worse.losses, "the losses") - required(better.losses, "the losses")
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return bool(difference.mean() > max(least, errors * error))
