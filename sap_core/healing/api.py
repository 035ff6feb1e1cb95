"""`heal_model`: train a copy of a pruned model on the predictions of the dense one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..evaluation.likelihood import Losses, text_likelihood
from ..evaluation.splits import TextSplit, split_texts
from ..progress import ProgressCallback, silent
from ..pruning.strategies.report import weights_sha256
from ..specs import HealSpec
from .learner import Learner
from .state import StateFile
from .training import train

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

_DRAWS = 4


@dataclass(frozen=True)
class Healed:
    """A healed copy of a model.

    Attributes:
        model: The copy.
        spec: The settings.
        report: What healing did: steps, measurements on held-out texts, texts, zeros.
        quality: Likelihoods of the copy, the dense model, and the pruned model before.
        export: The checkpoint that was written, if one was.
    """

    model: LoadedModel
    spec: HealSpec
    report: dict[str, Any]
    quality: dict[str, Any]
    export: Any = None


def heal_model(
    pruned: LoadedModel,
    teacher: LoadedModel,
    spec: HealSpec,
    *,
    state: Path | None = None,
    progress: ProgressCallback = silent,
) -> Healed:
    """Return a copy of ``pruned`` that was trained on the predictions of ``teacher``; both are unchanged.

    The loss is the KL divergence from the teacher's predictions to the model's, at the masked positions of partly
    masked texts (a diffusion model), or at every next token (an autoregressive one). What is kept is the state that was
    best on held-out texts; the quality is measured on texts that neither training nor that choice has seen.

    Args:
        pruned: The model that learns.
        teacher: The dense model, of the same vocabulary and objective.
        spec: The settings.
        state: File from which an interrupted training goes on; None: it can't.
        progress: Called after every step.

    Raises:
        InvalidInput: two models that do not fit together, no or too few texts; before any long work. ``state`` belongs
            to another training.
        OperationFailed: the loss is not finite.
        Cancelled: from ``progress``; ``state`` has what was learned.
    """
    started = time.perf_counter()
    check_pair(pruned, teacher)
    texts = split_texts(
        pruned,
        spec.text_source,
        samples=spec.steps * spec.batch,
        held_out=spec.held_out,
        seed=spec.seed,
        length=spec.text_length,
    )
    student = pruned.clone()
    before = _zeros(student)
    if spec.moving_mask and not any(before.values()):
        raise InvalidInput(f"{pruned.info.ref} has no zeros that could move; leave moving_mask out.")
    learner = Learner(student, spec)
    job = {
        "spec": spec.model_dump(mode="json", exclude={"out", "overwrite", "verify", "model", "teacher", "device"}),
        "weights": [weights_sha256(pruned), weights_sha256(teacher)],
        "texts": texts.describe(),
    }
    learned = train(learner, teacher, texts, StateFile(state, job), progress)
    learner.finish()
    learned |= {
        "teacher": teacher.info.ref,
        "masked": student.is_diffusion,
        "learning_rate": spec.largest_rate,
        "learning": {"parameters": learner.size, "of": sum(p.numel() for p in student.module.parameters())},
        "texts": texts.describe(),
        "zeros": {"before": sum(before.values()), "after": sum(_zeros(student).values())},
        "weights_sha256": weights_sha256(student),
        "seconds": round(time.perf_counter() - started, 3),
    }
    return Healed(student, spec, learned, _quality(pruned, student, teacher, texts, spec, progress))


def check_pair(pruned: LoadedModel, teacher: LoadedModel) -> None:
    """Raise InvalidInput if a model can't learn from the other one, or not at all."""
    if pruned.is_diffusion:
        if not pruned.info.row.has_mask:
            raise InvalidInput(
                f"{pruned.info.ref} denoises random tokens, of which no likelihood is known here; it can't be healed."
            )
        pruned.check_masked()
    for model in (pruned, teacher):
        if (
            getattr(model.module, "is_quantized", False)
            or model.quantized
            or model.info.config.get("quantization_config")
        ):
            raise InvalidInput(
                f"{model.info.ref} is quantized, and quantized weights can't learn; give it unquantized."
            )
        if model.offloaded:
            raise InvalidInput(f"Some weights of {model.info.ref} are out of reach; load it on one device to heal it.")
    for name, label in (("vocab_size", "tokens"), ("objective", "objective"), ("mask_token_id", "mask token")):
        own, other = getattr(pruned.info, name), getattr(teacher.info, name)
        if own != other:
            raise InvalidInput(
                f"the teacher {teacher.info.ref} has {label} {other} but {pruned.info.ref} has {own}; give the dense "
                "model that it was pruned from."
            )


def _zeros(model: LoadedModel) -> dict[str, int]:
    """Return how many weights of each matrix of the blocks are zero."""
    linears = {name: module for layer in range(len(model.blocks)) for name, module in model.linears(layer).items()}
    return {name: int((module.weight == 0).sum()) for name, module in linears.items()}


def _quality(
    pruned: LoadedModel,
    healed: LoadedModel,
    teacher: LoadedModel,
    texts: TextSplit,
    spec: HealSpec,
    progress: ProgressCallback,
) -> dict[str, Any]:
    """Return likelihoods on the texts that are left, as `quick_compare` names them, with those before healing."""
    rows = texts.test.rows

    def measured(model: LoadedModel, reference: LoadedModel | None) -> Losses:
        return text_likelihood(model, rows, draws=_DRAWS, seed=spec.seed, reference=reference, progress=progress)

    dense, before, after = measured(teacher, None), measured(pruned, teacher), measured(healed, teacher)
    return {
        "texts": texts.test.describe(),
        "draws": _DRAWS,
        "text_seed": spec.seed,
        "dense": {"likelihood": dense.summary()},
        "before": {"likelihood": before.summary(), "kl": before.divergence()},
        "pruned": {"likelihood": after.summary()},
        "difference": after.minus(dense),
        "kl": after.divergence(),
        "gain": before.minus(after),
    }
