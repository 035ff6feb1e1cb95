"""How texts of lm-evaluation-harness tasks are put to a model: framed as its tokenizer frames a text, as in `evaluate`.

The tokens that the tokenizer adds around a text ([CLS] and [SEP], <bos>) stand around context and continuation
together, are seen, and are neither masked nor scored. A chat template brings its own special tokens, so none are added
to a chat. An autoregressive model reads no token behind the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..texts.rows import Encoder, TextRow, TextSet

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

ADVICE = "Choose tasks in the language of the model's training texts."
TASKS = "the tasks' continuations"


@dataclass(frozen=True)
class Framed:
    """Token ids of a context and its continuation.

    Attributes:
        before: Opening tokens and context.
        scored: The continuation.
        after: Closing tokens.
    """

    before: list[int]
    scored: list[int]
    after: list[int]


class Framing:
    """The tokens that a model's tokenizer adds around a text.

    Args:
        model: The model; it has a tokenizer.
        max_length: The longest row.
    """

    def __init__(self, model: LoadedModel, max_length: int) -> None:
        self.model, self.max_length, self.chat = model, max_length, False
        mask = model.check_masked() if model.is_diffusion else None
        self._encoder = Encoder(model.tokenizer, model.is_diffusion, mask, model.encode_marked)
        ids, special = self._encoder.encode("a")
        inner = [i for i, flag in enumerate(special) if not flag] or [len(ids)]
        self._opening, closing = ids[: inner[0]], ids[inner[-1] + 1 :]
        self._closing = closing if model.is_diffusion else []

    @property
    def start(self) -> int:
        """The token before the first of a text without context; autoregressive models.

        Raises:
            InvalidInput: the tokenizer names neither a start nor an end token.
        """
        tokenizer: Any = self.model.tokenizer
        named = (*self._opening[-1:], tokenizer.bos_token_id, tokenizer.eos_token_id)
        found = next((token for token in named if token is not None), None)
        if found is None:
            raise InvalidInput(
                f"the tokenizer of {self.model.info.ref} names no start or end token, so nothing stands before the "
                "first token of a text without context; name one in tokenizer_config.json (bos_token)."
            )
        return found

    def pair(self, context: str, continuation: str) -> Framed:
        """Return a request of the harness as tokens; a context that is too long loses its beginning.

        Spaces at the end of the context belong to the continuation, as in the harness.

        Raises:
            InvalidInput: the continuation is longer than the model's rows.
        """
        bare = context.rstrip()
        whole, inner = self._ids(context + continuation), self._ids(bare)
        opening, inner, closing = self._frame(inner)
        scored = whole[len(self._ids(bare)) :]
        if not self.model.is_diffusion and not opening and not inner:
            opening = [self.start]
        # An autoregressive model never reads the last token.
        room = self.max_length - len(opening) - len(scored) - len(closing) + (not self.model.is_diffusion)
        if room < 0:
            raise InvalidInput(
                f"a continuation has {len(scored)} tokens; the model takes {self.max_length}, special tokens included."
            )
        return Framed(opening + inner[max(0, len(inner) - room) :], scored, closing)

    def windows(self, text: str) -> list[Framed]:
        """Return a text in windows without overlap, each in its frame; diffusion models."""
        opening, ids, closing = self._frame(self._ids(text))
        room = max(1, self.max_length - len(opening) - len(closing))
        return [Framed(opening, ids[start : start + room], closing) for start in range(0, len(ids), room)]

    def prompt(self, context: str, count: int) -> list[int]:
        """Return a context to be continued by ``count`` tokens; too long a one loses its beginning."""
        opening, ids, closing = self._frame(self._ids(context))
        closing = closing if self.model.info.row.closes_canvas else []
        if not self.model.is_diffusion and not opening and not ids:
            opening = [self.start]
        room = max(0, self.max_length - len(opening) - len(closing) - count - self.model.info.row.reserves_end)
        return opening + ids[max(0, len(ids) - room) :] + closing

    def row(self, framed: Framed) -> TextRow:
        """Return the row in which the continuation is scored, but for mask tokens in it."""
        tokens = [*framed.before, *framed.scored, *framed.after]
        flags = [True] * len(framed.before) + [False] * len(framed.scored) + [True] * len(framed.after)
        return self._encoder.row(tokens, flags)

    def check_known(self, rows: list[TextRow], text: str) -> None:
        """Raise InvalidInput if more than 5 % of what is scored is unknown to the tokenizer; ``text`` shows it."""
        unknown = self._encoder.unknown(rows)
        found = TextSet(rows, TASKS, unknown=unknown, shown=self._encoder.shown(text) if unknown else None)
        found.check_known(self.model.info.ref, ADVICE)

    def describe(self) -> dict[str, Any]:
        """Return how texts are framed and what is scored; JSON-able."""
        tokenizer: Any = self.model.tokenizer
        opening, closing = ([], []) if self.chat else (self._opening, self._closing)
        return {
            "before_a_text": tokenizer.convert_ids_to_tokens(opening),
            "after_a_text": tokenizer.convert_ids_to_tokens(closing),
            "chat_template": self.chat,
            "scored": "the tokens of the continuation; special tokens around the text are neither masked nor scored",
            "max_length": self.max_length,
        }

    def _ids(self, text: str) -> list[int]:
        return self.model.encode(text, special=False) if text else []

    def _frame(self, ids: list[int]) -> tuple[list[int], list[int], list[int]]:
        """Return (opening, ids, closing); nothing is added to a chat, nor twice where the text has it already."""
        if self.chat:
            return [], ids, []
        opening = [] if self._opening and ids[: len(self._opening)] == self._opening else self._opening
        return list(opening), ids, list(self._closing)
