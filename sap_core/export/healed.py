"""`heal`: from a pruned model and the dense one to a healed checkpoint."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from ..errors import OperationFailed
from ..healing.api import Healed, check_pair, heal_model
from ..healing.memory import check_room
from ..models.inspection import inspect_model
from ..progress import ProgressCallback, silent
from ..specs import HealSpec, asked_spec
from ..storage import disk_problem
from .checkpoint import check_room as check_disk
from .checkpoint import export_checkpoint
from .target import checkpoint_output

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..storage.output import Output

_STATE = "training.safetensors"


def heal(
    model: LoadedModel | str,
    teacher: LoadedModel | str | None = None,
    *,
    spec: HealSpec | None = None,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> Healed:
    """Train a copy of a pruned model on the predictions of the dense one, and write it as a checkpoint.

    Zeros stay zero (or move, with ``moving_mask``), and shapes stay. With ``out`` the result is a checkpoint like any
    pruning's, verified in a fresh process, and a training that was interrupted goes on from its last measurement when
    the same call is made again.

    Args:
        model: The pruned model, or what `load_model` takes.
        teacher: The dense model, or what `load_model` takes.
        spec: In place of the fields.
        progress: Called after every step.
        **fields: Those of `HealSpec`: text, steps, batch, train, learning_rate, moving_mask, out, seed ...

    Raises:
        InvalidInput: the request can't be carried out; raised before any long work.
        OperationFailed: the loss is not finite, or the written folder does not verify.
        Cancelled: from ``progress``; with ``out``, the last measured state is kept.
    """
    given = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in fields.items()}
    named = None if teacher is None else str(getattr(getattr(teacher, "info", None), "ref", teacher))
    asked = asked_spec(HealSpec.build, model, spec, ({"teacher": named} if named else {}) | given)
    if asked.text_source is not None:
        asked.text_source.check()
    dense = asked.teacher if teacher is None else teacher
    if asked.out is None:
        return heal_model(*_loaded(model, dense, asked), asked, progress=progress)
    with checkpoint_output(asked.out, overwrite=asked.overwrite, resumable=True) as output:
        return _heal_to(output, model, dense, asked, progress)


def _heal_to(
    output: Output, model: LoadedModel | str, teacher: LoadedModel | str, spec: HealSpec, progress: ProgressCallback
) -> Healed:
    pruned, dense = _loaded(model, teacher, spec)
    check_disk(pruned, output)
    try:
        healed = heal_model(pruned, dense, spec, state=output.part / _STATE, progress=progress)
    except OSError as error:
        problem = disk_problem(error, output.target)
        raise OperationFailed(f"{problem} What was learned is in {output.part}; the same call goes on.") from error
    report = export_checkpoint(healed, output, verify=spec.verify, quality=healed.quality, progress=progress)
    return dataclasses.replace(healed, export=report)


def _loaded(model: LoadedModel | str, teacher: LoadedModel | str, spec: HealSpec) -> tuple[LoadedModel, LoadedModel]:
    from ..models.loading import load_model

    infos = [
        inspect_model(each, **spec.inspecting) if isinstance(each, str) else each.info for each in (model, teacher)
    ]
    check_room(infos[0], infos[1], spec, loaded=[not isinstance(each, str) for each in (model, teacher)])
    if isinstance(model, str):
        model = load_model(model, **spec.loading)
    if isinstance(teacher, str):
        teacher = load_model(teacher, **{name: value for name, value in spec.loading.items() if name != "adapter"})
    check_pair(model, teacher)
    return model, teacher
