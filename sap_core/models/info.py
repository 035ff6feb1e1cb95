"""Description of a model from its config.json and tensor headers, before any weight is read. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ModelProblem
from .conventions import Convention
from .family import AUTOREGRESSIVE, HEAD_SIZED, Config, Family
from .layout import Matrix, expert_counts


@dataclass(frozen=True)
class ModelInfo:
    """A model as its config and headers describe it.

    Attributes:
        matrices: The prunable linear layers inside the blocks, in block order, under native module names.
        max_length: Positions; None if the config sets no limit.
        mask_token_id: None if nothing declares one.
        shift_logits: Whether the model denoises, yet its row i predicts token i + 1.
        conventions: causal, shift_logits and block_size, each with its origin.
        no_pruning: The reason why pruning is refused, "" if it is not.
        chat_template: The tokenizer's, "" if it has none; `sap_core.models.chat_text` applies it.
        config: config.json as stored.
        native_config: The same as the native class reads it.
        keys: Stored tensor name -> native name.
        row: The family's row of the table.
    """

    ref: str
    path: str | None
    family: str
    title: str
    objective: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    ffn: int
    vocab_size: int
    max_length: int | None
    mask_token_id: int | None
    parameters: int
    bytes: int
    dtype: str
    matrices: tuple[Matrix, ...]
    samplers: tuple[str, ...]
    row: Family = field(repr=False, compare=False)
    block_size: int | None = None
    shift_logits: bool = False
    conventions: dict[str, Convention] = field(default_factory=dict, compare=False)
    adapter: str = ""
    no_pruning: str = ""
    chat_template: str = field(default="", repr=False)
    special_words: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    config: Config = field(default_factory=dict, repr=False, compare=False)
    native_config: Config = field(default_factory=dict, repr=False, compare=False)
    keys: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The pruning patterns that work on this model; none if pruning is refused."""
        if self.no_pruning:
            return ()
        units = self.units
        if any(expert_counts(self.matrices, self.layers)) and not self.row.remote_code:
            units = (*units, "experts")
        return (*self.row.patterns, *units)

    @property
    def units(self) -> tuple[str, ...]:
        """The units, experts aside, that the family's format can lose: heads only if it has a head size of its own."""
        kind = str(self.native_config.get("model_type"))
        units = self.row.units_of(kind)
        own = self.config.get("model_type") != self.native_config.get("model_type")
        if own and not ("head_dim" in self.config and kind in HEAD_SIZED):
            return tuple(unit for unit in units if unit != "heads")
        return units

    @property
    def attention_layers(self) -> tuple[int, ...]:
        """Numbers of the layers with attention heads: their output projection reads heads x head_dim columns."""
        return tuple(sorted({m.layer for m in self.matrices if m.kind == "o" and m.cols == self.heads * self.head_dim}))

    @property
    def folder(self) -> Path:
        """The folder of the checkpoint on this machine.

        Raises:
            ModelProblem: a model on the Hub that is not downloaded yet.
        """
        if self.path is None:
            raise ModelProblem(f"{self.ref} is not on this machine yet; load it once to download it.")
        return Path(self.path)

    def check_prunable(self) -> None:
        """Raise ModelProblem with the reason if this model can't be pruned."""
        if self.no_pruning:
            raise ModelProblem(f"{self.ref} can't be pruned: {self.no_pruning}.")

    def check_masked(self) -> int:
        """Return the mask token's id.

        Raises:
            ModelProblem: an autoregressive model, one that denoises something else, or one that declares no mask token.
        """
        if self.objective == AUTOREGRESSIVE:
            raise ModelProblem(f"{self.ref} is autoregressive and has no mask token; a diffusion model is needed.")
        if not self.row.has_mask:
            raise ModelProblem(
                f"{self.ref} has no mask token: it denoises random tokens; what masks a text does not apply to it."
            )
        if self.mask_token_id is None:
            raise ModelProblem(
                f"{self.ref} declares no mask token in config.json or its tokenizer; "
                "give its id as mask_token_id (--mask-token-id)."
            )
        return self.mask_token_id

    def to_dict(self) -> dict[str, Any]:
        """Return everything a page shows, JSON-able, with matrices as their number."""
        hidden = ("row", "config", "native_config", "keys", "matrices", "special_words")
        shown = {name: value for name, value in self.__dict__.items() if name not in hidden}
        lists = {"samplers": list(self.samplers), "patterns": list(self.patterns)}
        how = {name: asdict(convention) for name, convention in self.conventions.items()}
        return {**shown, **lists, "conventions": how, "matrices": len(self.matrices)}
