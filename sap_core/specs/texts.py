"""The texts that quality is measured on."""

from __future__ import annotations

from pydantic import model_validator

from ..errors import InvalidInput
from ..texts.source import COLUMN, EXPECTED, TextSource
from .base import Spec
from .options import option


class TextOptions(Spec):
    """The texts that quality is measured on."""

    text: str | None = option(
        None, f"Texts to measure on: {EXPECTED}.", shown="held-out texts, see the guide", reads="texts"
    )
    column: str = option(COLUMN, "Text FILE.jsonl, dataset:NAME: the key or column of text.")
    subset: str | None = option(None, "Text dataset:NAME: its configuration, where it has some.")
    split: str = option("train", "Text dataset:NAME: the split.")
    join: bool = option(False, "Join all of the text and cut it into windows, as published for WikiText.")

    @property
    def text_source(self) -> TextSource | None:
        """The source of the texts; None for the default."""
        if self.text is None:
            return None
        options = {"columns": (self.column,), "subset": self.subset, "split": self.split, "join": self.join}
        return TextSource(self.text, "text", **options)

    @model_validator(mode="after")
    def _text_reading(self) -> TextOptions:
        check_reading(self, self.text, "text")
        return self


def check_reading(spec: Spec, source: str | None, use: str) -> None:
    """Raise InvalidInput for options that would have no effect on this source of texts.

    Raises:
        InvalidInput: an option would do nothing.
    """
    prefix = "" if use == "text" else f"{use}_"
    allowed = {"column", "subset", "split", "join"}
    if source is None or not source.startswith("dataset:"):
        suffix = "" if source is None else source.rpartition(".")[2]
        allowed = {"txt": {"join"}, "jsonl": {"column", "join"}}.get(suffix, set())
    names = [f"{prefix}{name}" for name in ("column", "subset", "split", "join") if name not in allowed]
    given = [name for name in names if getattr(spec, name) != type(spec).model_fields[name].default]
    if given:
        there = f"{use} '{source}'" if source is not None else f"the default {use}"
        raise InvalidInput(f"{', '.join(given)} does not go with {there}; leave it out.")
