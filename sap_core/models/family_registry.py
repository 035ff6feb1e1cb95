"""The table of families.

A new family is a file in ``families/`` and a row here; from outside, `register_family`, or an entry point of an
installed package in the group "sap_core.families", which the studio and the command line see too.

The first row that matches a config.json is its family, so special families come before general ones. No torch here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any

from ..errors import InvalidInput
from .families import (
    a2d,
    causal,
    diffugpt,
    diffusion_gemma,
    dit,
    dream,
    fast_dllm,
    illada,
    llada,
    llada2,
    llada_moe,
    masked_lm,
    native_diffusion,
    nemotron,
    remote,
    rnd1,
    sdar,
)
from .family import AUTOREGRESSIVE, LAYERED, RESIZABLE, Config, Family

ENTRY_POINTS = "sap_core.families"
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        llada_moe.FAMILY,
        llada2.FAMILY,
        illada.FAMILY,
        nemotron.FAMILY,
        llada.FAMILY,
        dream.FAMILY,
        diffugpt.DIFFUGPT,
        diffugpt.DIFFULLAMA,
        sdar.FAMILY,
        fast_dllm.FAMILY,
        rnd1.FAMILY,
        a2d.WHOLE,
        a2d.BLOCKS,
        dit.MDLM,
        dit.BD3LM,
        diffusion_gemma.FAMILY,
        native_diffusion.FAMILY,
        remote.DIFFUSION,
        remote.CAUSAL,
        masked_lm.FAMILY,
        causal.FAMILY,
    )
}


def recognise(config: Config, names: Iterable[str] = ()) -> Family | None:
    """Return the family of a config.json and the names of the stored tensors, or None if no row matches."""
    known = tuple(names)
    for family in FAMILIES.values():
        marked = not family.marks or any(name.startswith(family.marks) for name in known)
        if marked and family.matches(config):
            return family
    return None


def register_family(family: Family) -> Family:
    """Add a family from outside the package, before the existing ones.

    Raises:
        InvalidInput: a family of that name exists.
    """
    if family.name in FAMILIES:
        raise InvalidInput(f"A family named '{family.name}' exists; give the new one another name.")
    others = dict(FAMILIES)
    FAMILIES.clear()
    FAMILIES.update({family.name: family, **others})
    return family


def families_markdown() -> str:
    """Return the table as Markdown, as it stands in docs/models.md."""
    head = ("family", "models", "loads as", "conventions", "sampling rules", "pruning", "export")
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for row in families_table():
        rules = ", ".join(f"`{name}`" for name in row["samplers"])
        cells = (
            row["title"], row["examples"], row["loads_as"], row["conventions"], rules, row["pruning"], row["export"]
        )  # fmt: skip
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def families_table() -> list[dict[str, Any]]:
    """Return one JSON-able row per family, for the command line, the pages and the documentation."""
    return [
        {
            "family": family.name,
            "title": family.title,
            "examples": family.examples,
            "objective": family.objective,
            "loads_as": _loads_as(family),
            "conventions": _conventions(family),
            "samplers": list(family.samplers),
            "patterns": [*family.patterns, *family.units],
            "pruning": _pruning(family),
            "export": family.export,
            "mask_token_id": family.mask_token_id,
            "remote_code": family.remote_code,
        }
        for family in FAMILIES.values()
    ]


def _pruning(family: Family) -> str:
    """Return the supported patterns in words: of single weights, then of whole units and their classes."""
    if family.no_pruning:
        return f"refused: {family.no_pruning}"
    text = ", ".join(family.patterns)
    experts = "; whole experts of mixtures" if family.mixture else ""
    if not family.units:
        return text + experts
    resizable = [name for name in RESIZABLE if not family.natives or name in family.natives]
    of_all = family.architecture or (family.natives and set(family.natives) <= set(resizable))
    more = [name for name in family.natives if name in LAYERED and name not in RESIZABLE]
    layers = f"; whole layers of {', '.join(more)}" if more and "layers" in family.units else ""
    units = f"{text}; whole {', '.join(family.units)}" + ("" if of_all else f" (of {', '.join(resizable)})")
    return units + layers + experts


def _conventions(family: Family) -> str:
    """Return a model's conventions in a line: attention, which token a row predicts, its mask, its blocks."""
    if family.objective == AUTOREGRESSIVE:
        return "causal; row i predicts token i + 1"
    if family.export == "none":
        return "its own"
    if family.remote_code:
        return "as the user says"
    shifted, block = family.shift_logits({}), family.block_size({})
    text = ["row i predicts token i + 1" if shifted else "row i predicts token i"]
    if family.name == "native-diffusion":
        text = ["row i predicts token i, or i + 1 as declared or given"]
    if not family.has_mask:
        return f"no mask token; canvases of {block} random tokens behind a causal prompt"
    if family.adapter.endswith("block_causal"):
        sizes = f"blocks of {block}" if block and block > 1 else "blocks as config.json says"
        start = "where the prompt ends" if family.answer_starts_block else "the first token"
        text.insert(0, f"{sizes} from {start}, each sees itself and those before")
    else:
        text.insert(0, "bidirectional")
    if family.mask_token_id is not None:
        text.append(f"mask {family.mask_token_id}")
    return "; ".join(text)


def _loads_as(family: Family) -> str:
    if family.remote_code:
        return "its own code"
    if family.architecture:
        return family.architecture.rpartition(":")[2]
    return f"native {', '.join(family.natives)}" if family.natives else "its native class"


def _register_installed() -> None:
    """Register the families of installed packages; one that fails to import is skipped with a warning."""
    for point in entry_points(group=ENTRY_POINTS):
        try:
            family = point.load()
            if not isinstance(family, Family):
                raise InvalidInput(f"{point.value} is a {type(family).__name__}, not a Family")
            register_family(family)
        except Exception as error:  # a package of somebody else's can fail in any way
            logging.getLogger(__name__).warning("Family '%s' of an installed package: %s", point.name, error)


_register_installed()
