"""`export_checkpoint`: a folder that loads elsewhere, complete or not there at all."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, OperationFailed
from ..progress import Progress, ProgressCallback, silent
from ..runs.files import write_json
from ..runs.manifest import list_files, versions
from ..runs.paths import check_new_folder
from .card import loading_code, model_card
from .verify import (
    MANIFEST,
    auto_class,
    loads_with,
    verify_checkpoint,
    write_expected,
)

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..pruning.strategies.report import Pruned

SCHEMA = 1
# Room beside the weights for tokenizer, card and the logits for checking.
SPARE_BYTES = 64 << 20


@dataclass(frozen=True)
class ExportReport:
    """``verification``: what `verify_checkpoint` found, None when it was not asked for; ``code``: how to load it."""

    folder: Path
    bytes: int
    files: tuple[str, ...]
    loader: str
    code: str
    verification: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return self.__dict__ | {"folder": str(self.folder), "files": list(self.files)}


def export_checkpoint(
    pruned: Pruned | LoadedModel,
    out: str | os.PathLike,
    *,
    overwrite: bool = False,
    verify: bool = True,
    quality: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
    progress: ProgressCallback = silent,
) -> ExportReport:
    """Writes weights, config, tokenizer, model card and manifest to ``out``.

    Everything is written to a folder beside it, verified there in a fresh process, and renamed at the end, so that
    ``out`` is complete whenever it exists. ``quality``: what `evaluate` or `quick_compare` returned, for the card;
    ``extra``: JSON documents to put beside the weights, by file name.

    Raises:
        InvalidInput: ``out`` exists (and ``overwrite`` is not set, or it is no model folder), can't be written, or is
            the folder the model came from; too little space. Nothing has been written.
        OperationFailed: the written folder does not load or gives other logits; it is removed.
    """
    model, pruning = _parts(pruned)
    target = check_export_folder(model, out, overwrite=overwrite)
    stages = 3 if verify else 2
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        progress(Progress("export", 0, stages, message="writing weights"))
        model.save(aside)
        write_expected(model, aside)
        for name, document in (extra or {}).items():
            write_json(aside / name, document)
        loader = loads_with(model.info)
        (aside / "README.md").write_text(_card(target.name, model, pruning, loader, quality), encoding="utf-8")
        progress(Progress("export", 1, stages, message="loading it in a fresh process" if verify else ""))
        verification = verified(aside) if verify else None
        write_manifest(aside, pruning, quality, verification, loader)
        size = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file())
        files = tuple(sorted(path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file()))
        put_in_place(aside, target)
    except OSError as error:
        raise OperationFailed(f"Can't write {target}: {error.strerror or error}; nothing was left behind.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    progress(Progress("export", stages, stages))
    own_code = bool(model.info.config.get("per_layer_config"))
    code = loading_code(loader, auto_class(model.info), str(target), own_code=own_code)
    return ExportReport(target, size, files, loader, code, verification)


def check_export_folder(model: LoadedModel, out: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """``out`` as an absolute path that an export of ``model`` can be written to.

    Raises:
        InvalidInput: it exists, can't be written, is where the model came from, or there is too little space.
    """
    weights = sum(p.numel() * p.element_size() for p in model.module.parameters())
    return check_target(out, model.info.path, weights + SPARE_BYTES, overwrite=overwrite)


def check_target(out: str | os.PathLike, source: str | None, needed: int, *, overwrite: bool = False) -> Path:
    """As `check_export_folder`, for ``needed`` bytes and a model that came from the folder ``source``."""
    target = check_new_folder(out, overwrite=overwrite)
    if target.is_dir():
        if source and target.resolve() == Path(source).resolve():
            raise InvalidInput(f"{target} is the folder the model was loaded from; choose another.")
        if any(target.iterdir()) and not (target / "config.json").is_file():
            raise InvalidInput(f"{target} holds other things than a model; it stays as it is, choose another.")
    existing = next(parent for parent in (target, *target.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise InvalidInput(
            f"{existing} has {free / 2**30:.1f} GiB free but the export needs {needed / 2**30:.1f}; "
            "free some space or choose another folder."
        )
    return target


def _parts(pruned: Pruned | LoadedModel) -> tuple[LoadedModel, dict[str, Any] | None]:
    if not hasattr(pruned, "plan"):
        return pruned, None
    return pruned.model, {
        "spec": pruned.spec.model_dump(mode="json"),
        "plan": pruned.plan.to_dict(),
        "report": pruned.report,
    }


def _card(name: str, model: LoadedModel, pruning: dict | None, loader: str, quality: dict | None) -> str:
    from ..evaluation.cost import model_size

    return model_card(
        name=name,
        source=model.info.ref,
        objective=model.info.objective,
        loader=loader,
        auto_class=auto_class(model.info),
        pruning=pruning,
        quality=quality,
        size=model_size(model),
        own_code=bool(model.info.config.get("per_layer_config")),
    )


def verified(folder: Path) -> dict[str, Any]:
    found = verify_checkpoint(folder)
    if not found["equal"]:
        raise OperationFailed(
            f"the written folder loads with other logits (largest difference {found['max_difference']:.3g}, "
            f"allowed {found['tolerance']:.3g}); it was removed."
        )
    return found


def write_manifest(
    folder: Path, pruning: dict | None, quality: dict | None, verification: dict | None, loader: str
) -> None:
    """Last of all files, so that its list covers every other; one copied from a source that was an export goes."""
    (folder / MANIFEST).unlink(missing_ok=True)
    write_json(
        folder / MANIFEST,
        {
            "schema": SCHEMA,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "seed": pruning["spec"]["seed"] if pruning else None,
            "loads_with": loader,
            "verification": verification,
            "quality": quality,
            **(pruning or {"spec": None, "plan": None, "report": None}),
            "files": list_files(folder),
        },
    )


def put_in_place(aside: Path, target: Path) -> None:
    """Renames; what is replaced is moved away first and deleted after."""
    if not target.exists():
        aside.rename(target)
        return
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
    target.rename(old)
    try:
        aside.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
