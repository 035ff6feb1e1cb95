"""Which run to go on with, and whether it is the one that is asked for."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, RunProblem
from ..models.fingerprint import model_files
from ..runs.manifest import versions
from ..runs.reading import open_run
from ..specs import CaptureSpec, parse_spec
from ..specs.base import check_same_model, model_reference
from .checkpoint import Checkpoint, read_checkpoint

if TYPE_CHECKING:
    from ..models.info import ModelInfo
    from ..storage.paths import StoragePath

DECIDE = ("torch", "transformers")  # packages whose version can change the last bits of a number


@dataclass(frozen=True)
class Interrupted:
    """A capture that was not finished. ``kept``: where it stands; None where it begins again in the same folder."""

    path: StoragePath
    spec: CaptureSpec
    kept: Checkpoint | None

    def check_model(self, info: ModelInfo) -> None:
        """Refuse a model that has changed since; warn of other versions of what computes.

        Raises:
            InvalidInput: its files are not those of the steps that are there.
        """
        if self.kept is None:
            return
        if self.kept.model != model_files(info.path):
            raise InvalidInput(
                f"The files of {info.ref} have changed since run {self.path} was begun; capture it anew."
            )
        now = versions()
        other = [
            f"{name} {self.kept.versions.get(name)}" for name in DECIDE if self.kept.versions.get(name) != now.get(name)
        ]
        if other:
            warnings.warn(
                f"The steps of run {self.path} so far were made with {', '.join(other)}; those that follow may differ "
                "from an uninterrupted run in rounding.",
                stacklevel=2,
            )


def interrupted_capture(
    run: str | os.PathLike, model: Any = None, spec: CaptureSpec | None = None, **fields: Any
) -> Interrupted:
    """Return the unfinished capture to go on with; settings that are given must be its own.

    Raises:
        RunProblem: no such run, no capture, finished, or its files can't be gone on with.
        InvalidInput: a model or settings other than those it was begun with.
    """
    opened = open_run(run, unfinished=True)
    path = opened.path
    if opened.kind != "capture":
        raise RunProblem(f"Run {path} is of kind {opened.kind}; only a capture can be gone on with like this.")
    if opened.state == "finished":
        raise RunProblem(f"Run {path} is finished; there is nothing to go on with.")
    own = parse_spec(opened.spec)
    if not isinstance(own, CaptureSpec):
        raise RunProblem(f"Run {path} holds no capture's spec; capture it anew.")
    if model is not None:
        check_same_model(str(model_reference(model)), own.model)
    given = (
        spec.model_dump() if spec is not None else {key: value for key, value in fields.items() if value is not None}
    )
    asked = CaptureSpec.build(**own.model_dump() | given)
    for name in type(own).model_fields:
        before, now = getattr(own, name), getattr(asked, name)
        if before != now:
            raise InvalidInput(
                f"{name} is {str(now)[:80]!r}, but run {path} was begun with {str(before)[:80]!r}; leave it out, or "
                "capture anew."
            )
    return Interrupted(path, own, read_checkpoint(path))
