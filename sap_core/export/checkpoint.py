"""`export_checkpoint`: write a folder that loads elsewhere, completely or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, OperationFailed
from ..models.code_files import code_files
from ..models.headers import read_headers
from ..models.loaded import LoadedModel
from ..models.packing import pack_checkpoint
from ..progress import Progress, ProgressCallback, silent
from ..runs.files import write_json
from ..runs.manifest import list_files, versions
from ..storage import disk_problem, storage_of
from ..storage.output import remove_quietly
from .card import loading_code, model_card
from .provenance import MANIFEST, Provenance, provenance_of
from .target import check_checkpoint_output, checkpoint_output
from .verify import (
    auto_class,
    loads_with,
    verify_checkpoint,
    write_expected,
)

if TYPE_CHECKING:
    from ..healing.api import Healed
    from ..pruning.strategies.report import Pruned
    from ..storage.output import Output

SCHEMA = 1
# Room beside the weights for tokenizer, card and the logits for checking.
SPARE_BYTES = 64 << 20


@dataclass(frozen=True)
class ExportReport:
    """Result of an export.

    ``verification``: what `verify_checkpoint` returned, None if it was not asked for; ``code``: how to load the folder.
    """

    folder: Path
    bytes: int
    files: tuple[str, ...]
    loader: str
    code: str
    verification: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dict."""
        return self.__dict__ | {"folder": str(self.folder), "files": list(self.files)}


def export_checkpoint(
    pruned: Pruned | Healed | LoadedModel,
    out: str | os.PathLike | Output,
    *,
    overwrite: bool = False,
    verify: bool = True,
    quality: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
    progress: ProgressCallback = silent,
) -> ExportReport:
    """Write weights, config, tokenizer, model card and manifest to ``out``.

    The result of a pruning or a healing is written with what was done; a model alone is written as it is.

    Everything is written to a folder beside it, verified there in a fresh process, and renamed at the end, so that
    ``out`` is complete whenever it exists. ``quality``: what `evaluate` or `quick_compare` returned, for the card;
    ``extra``: JSON documents to put beside the weights, by file name.

    Raises:
        InvalidInput: ``out`` exists (and ``overwrite`` is not set, or it is no model folder), can't be written, or is
            the folder the model came from; too little space. Nothing has been written.
        OperationFailed: the written folder does not load or gives other logits; it is removed.
    """
    model, done = provenance_of(pruned)
    stages = 3 if verify else 2
    if verify:
        check_reader(model)
    with checkpoint_output(out, overwrite=overwrite) as output:
        check_room(model, output)
        target, aside = output.target, _folder_beside(output)
        try:
            progress(Progress("export", 0, stages, message="writing weights"))
            model.save(aside)
            if model.quantized is not None:
                pack_checkpoint(aside, model, model.quantized)
            write_expected(model, aside)
            for name, document in (extra or {}).items():
                write_json(aside / name, document)
            loader = loads_with(model.info)
            (aside / "README.md").write_text(_card(target.name, aside, model, done, loader, quality), encoding="utf-8")
            progress(Progress("export", 1, stages, message="loading it in a fresh process" if verify else ""))
            verification = verified(aside) if verify else None
            write_manifest(aside, done, quality, verification, loader)
            sizes = storage_of(aside).sizes(aside)
        except OSError as error:
            raise disk_problem(error, target) from error
        output.publish(aside)
        if output.resumable and not aside.exists():  # published: what an interrupted call would need goes, too
            remove_quietly(output.part)
    progress(Progress("export", stages, stages))
    own_code = bool(model.info.config.get("per_layer_config"))
    code = loading_code(loader, auto_class(model.info), str(target), own_code=own_code)
    return ExportReport(target, sum(sizes.values()), tuple(sizes), loader, code, verification)


def check_reader(model: LoadedModel) -> None:
    """Raise InvalidInput if a quantized export can't be verified because the package that unpacks it is missing."""
    if model.quantized is not None and loads_with(model.info) == "transformers" and not find_spec("compressed_tensors"):
        raise InvalidInput(
            "the export of a quantized model is verified with compressed-tensors, which transformers needs to load it "
            "and is not installed: pip install 'sap-studio[quantize]', or leave the check out (--no-verify)."
        )


def check_room(model: LoadedModel, output: Output) -> None:
    """Raise InvalidInput if a reserved folder is the model's own, or has too little space for its weights."""
    weights = sum(p.numel() * p.element_size() for p in model.module.parameters())
    check_checkpoint_output(output, model.info.path, weights + SPARE_BYTES)


def _folder_beside(output: Output) -> Path:
    """Return the folder to write to: the reserved one, or an empty one in it where that holds other things."""
    if not output.resumable:
        return output.part
    folder = output.part / "weights"
    remove_quietly(folder)
    folder.mkdir()
    return folder


def _card(name: str, folder: Path, model: LoadedModel, done: Provenance, loader: str, quality: dict | None) -> str:
    from ..evaluation.cost import model_size

    return model_card(
        name=name,
        source=model.info.ref,
        objective=model.info.objective,
        loader=loader,
        auto_class=auto_class(model.info),
        pruning=done.pruning,
        healing=done.healing,
        quality=quality,
        size=model_size(model) | ({"bytes": sum(t.bytes for t in read_headers(folder))} if model.quantized else {}),
        own_code=bool(model.info.config.get("per_layer_config")),
        code=code_files(folder),
    )


def verified(folder: Path) -> dict[str, Any]:
    """Return the result of `verify_checkpoint`; raise OperationFailed if the logits differ."""
    result = verify_checkpoint(folder)
    if not result["equal"]:
        raise OperationFailed(
            f"the written folder loads with other logits (largest difference {result['max_difference']:.3g}, "
            f"allowed {result['tolerance']:.3g}); it was removed."
        )
    return result


def write_manifest(
    folder: Path, done: Provenance, quality: dict | None, verification: dict | None, loader: str
) -> None:
    """Write the manifest, last of all files, so that it lists every other; one copied from the source is replaced."""
    (folder / MANIFEST).unlink(missing_ok=True)
    write_json(
        folder / MANIFEST,
        {
            "schema": SCHEMA,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "seed": done.pruning["spec"]["seed"] if done.pruning else None,
            "loads_with": loader,
            "verification": verification,
            "quality": quality,
            **done.document(),
            "files": list_files(folder),
        },
    )
