"""A loaded model: the one interface that capture, samplers, pruning and evaluation use for any family."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelProblem, OperationFailed
from ..untrusted import foreign
from .experts import pack_experts
from .family import MASKED_DIFFUSION
from .info import ModelInfo
from .layout import TRANSPOSED
from .row_positions import positions, shift_back
from .saving import save_checkpoint
from .sizes import first_position
from .tokens import encode, encode_marked

RECORDING = "sap_"


class LoadedModel:
    """A model in evaluation mode, without gradients, with its tokenizer and description.

    A family that needs more than data subclasses this; all other code uses only the methods here.

    Attributes:
        module: The transformers model.
        tokenizer: Its tokenizer, or None where the folder has none.
        info: `ModelInfo`.
        padding: (batch, sequence) attention mask during a forward, 0 at padding; None where there is none.
        records_through: How its attention can be seen: "interface", transformers' attention interface, or "functional",
            calls of torch's scaled_dot_product_attention.
        answers_at: (batch,) where the prompts end while answers are written; None outside.
        pads: Whether its class leaves padding out of what it computes; found by `sap_core.models.probe`. Where it does
            not, texts of different lengths are run one by one.
        window: Where the queries of a pass over a part of a text stand (`Window`); None for whole texts.
        observed: False during forwards that a recorder must ignore, such as guidance's unconditional half.
    """

    quantized: Any = None  # `sap_core.models.packing.Quantized` of a model whose matrices were put on a grid
    records_through = "interface"
    reads_cache = False  # its blocks need the cache of keys and values that they are called with

    def __init__(self, module: nn.Module, tokenizer: Any | None, info: ModelInfo) -> None:
        # Any: a transformers class has attributes of its own, and callers check for a tokenizer where one is needed
        self.module: Any = module.eval().requires_grad_(False)
        self.tokenizer: Any = tokenizer
        self.info = info
        self.observed = True
        self.padding: Tensor | None = None
        self.pads = True
        self.answers_at: Tensor | None = None
        self.window: Any = None

    @property
    def device(self) -> torch.device:
        """Device of the inputs; of a model on several devices, that of its first weights in memory."""
        device = self.module.get_input_embeddings().weight.device
        if device.type != "meta":
            return device
        return next((p.device for p in self.module.parameters() if p.device.type != "meta"), torch.device("cpu"))

    @property
    def offloaded(self) -> bool:
        """Whether some weights are loaded only during a forward, so that they can't be read or changed here."""
        return any(parameter.device.type == "meta" for parameter in self.module.parameters())

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.module.dtype

    @property
    def observed_module(self) -> nn.Module:
        """The module whose forward pass a recorder watches."""
        return self.module

    @property
    def recorded(self) -> bool:
        """Whether attention is being recorded now."""
        return str(getattr(self.module.config, "_attn_implementation", "")).startswith(RECORDING)

    @property
    def is_diffusion(self) -> bool:
        """Whether the model denoises."""
        return self.info.objective == MASKED_DIFFUSION

    # ---- forward ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def logits(self, input_ids: Tensor, attention_mask: Tensor | None = None, *, observed: bool = True) -> Tensor:
        """Return the logits of one forward pass, float32 or better.

        Args:
            input_ids: (batch, sequence) token ids.
            attention_mask: (batch, sequence), 0 where a position is padding.
            observed: Whether a recorder records this pass.

        Returns:
            (batch, sequence, vocabulary). Row i predicts position i for a diffusion model, i + 1 for an autoregressive
                one.
        """
        alone = not self.pads and attention_mask is not None and not bool(attention_mask.all())
        self.observed, self.padding = observed and not alone, attention_mask
        try:
            if alone and attention_mask is not None:
                output = self._row_by_row(input_ids.to(self.device), attention_mask.to(self.device).bool())
            else:
                output = self.forward(input_ids.to(self.device), attention_mask)
        finally:
            self.observed, self.padding = True, None
        logits = output if output.dtype in (torch.float32, torch.float64) else output.float()
        return shift_back(logits) if self.info.shift_logits else logits

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return the logits of the native forward pass, before any shift; families override it."""
        if attention_mask is None:
            return self.module(input_ids=input_ids, use_cache=False).logits
        mask = attention_mask.to(self.device)
        options = {"position_ids": positions(mask) + first_position(self.info.native_config), "use_cache": False}
        known = inspect.signature(self.module.forward).parameters
        if not any(each.kind is each.VAR_KEYWORD for each in known.values()):
            options = {name: value for name, value in options.items() if name in known}
        return self.module(input_ids=input_ids, attention_mask=mask, **options).logits

    def _row_by_row(self, input_ids: Tensor, valid: Tensor) -> Tensor:
        """Run `forward` on each text alone, without its padding, if the class does not ignore padding; 0 at padding."""
        rows = [self.forward(ids[keep][None], None)[0] for ids, keep in zip(input_ids, valid, strict=True)]
        output = rows[0].new_zeros(*input_ids.shape, rows[0].shape[-1])
        for row, keep, logits in zip(output, valid, rows, strict=True):
            row[keep] = logits
        return output

    def calibrating(self) -> AbstractContextManager:
        """Return a context in which a forward pass shows every token of a text to the layers that are pruned."""
        return nullcontext()

    def span_logits(
        self, tokens: Tensor, span: Tensor | None, memory: dict[str, Any], *, observed: bool = True
    ) -> Tensor:
        """Return the logits of a canvas while it is denoised; a block-causal family computes those of one block alone.

        Args:
            tokens: (batch, sequence).
            span: (sequence,) bool, the columns that are needed; None for all.
            memory: Empty at the start of a canvas; a family's cache for later calls.
            observed: Whether a recorder records this pass.

        Returns:
            (batch, columns of the span, vocabulary).
        """
        logits = self.logits(tokens, observed=observed)
        return logits if span is None else logits[:, span]

    @torch.no_grad()
    def next_logits(self, input_ids: Tensor, attention_mask: Tensor, past: Any | None) -> tuple[Tensor, Any]:
        """Return the logits of the token after the last one, with the cache of keys and values; autoregressive models.

        Args:
            input_ids: (batch, new) tokens that are not in ``past`` yet.
            attention_mask: (batch, past + new).
            past: The cache of the last call; None at the first.

        Returns:
            (batch, vocabulary) and the cache for the next call.
        """
        mask = attention_mask.to(self.device)
        if not self.pads and not bool(mask.all()):
            raise ModelProblem(
                f"{type(self.module).__name__} lets padding into its texts; give {self.info.ref} prompts of "
                "one length, or one prompt at a time."
            )
        self.observed = False
        try:
            output = self.module(
                input_ids=input_ids.to(self.device),
                attention_mask=mask,
                position_ids=(positions(mask) + first_position(self.info.native_config))[:, -input_ids.shape[1] :],
                past_key_values=past,
                use_cache=True,
            )
        finally:
            self.observed = True
        past = getattr(output, "past_key_values", None)
        if past is None:
            raise ModelProblem(
                f"{type(self.module).__name__} returns no cache of keys and values, with which text is written here; "
                f"{self.info.ref} can't be sampled."
            )
        return output.logits[:, -1].float(), past

    # ---- parts ------------------------------------------------------------------------------------------------------

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, in order."""
        names = {}
        for matrix in self.info.matrices:
            head, _, _ = matrix.name.partition(f".{matrix.layer}.")
            names.setdefault(matrix.layer, f"{head}.{matrix.layer}")
        return [self.module.get_submodule(names[layer]) for layer in sorted(names)]

    def linears(self, layer: int) -> dict[str, nn.Linear]:
        """Return the prunable linear layers of one block by native module name, in the order of ``info.matrices``."""
        return {m.name: self.module.get_submodule(m.name) for m in self.info.matrices if m.layer == layer}

    @property
    def attentions(self) -> list[nn.Module]:
        """The modules that call the attention function, one per block, in order."""
        parents = {}
        for matrix in self.info.matrices:
            if matrix.kind in ("q", "qkv"):
                parents.setdefault(matrix.layer, matrix.name.rpartition(".")[0])
        return [self.module.get_submodule(parents[layer]) for layer in sorted(parents)]

    def output_projection(self, layer: int) -> nn.Linear:
        """Return the attention's output projection; its input columns are heads x head_dim, head by head."""
        name = next(m.name for m in self.info.matrices if m.layer == layer and m.kind == "o")
        return self.module.get_submodule(name)

    # ---- text -------------------------------------------------------------------------------------------------------

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Return the token ids of a text; ``special``: with the special tokens that the tokenizer adds."""
        return self._known(encode(self._tokenizer(), text, special=special))

    def encode_marked(self, text: str) -> tuple[list[int], list[bool]]:
        """Return (ids, which of them the tokenizer added around the text)."""
        ids, added = encode_marked(self._tokenizer(), text)
        return self._known(ids), added

    def _known(self, ids: list[int]) -> list[int]:
        beyond = next((token for token in ids if token >= self.info.vocab_size), None)
        if beyond is not None:
            raise ModelProblem(
                f"The tokenizer of {self.info.ref} gives token {beyond} ('{self.tokenizer.decode([beyond])}'), but the "
                f"model knows {self.info.vocab_size}: they are not of one model, or the embedding was never resized."
            )
        return ids

    def decode(self, ids: list[int]) -> str:
        """Return the text of token ids, without special tokens."""
        with foreign(f"The tokenizer of {self.info.ref} fails on tokens", "; check its files"):
            return self._tokenizer().decode([int(i) for i in ids], skip_special_tokens=True)

    def piece(self, token: int) -> str:
        """Return one token as text, for figures: "·" instead of an empty one, no line breaks."""
        if self.tokenizer is None:
            return str(int(token))
        with foreign(f"The tokenizer of {self.info.ref} fails on a token", "; check its files"):
            text = self.tokenizer.decode([int(token)], skip_special_tokens=False)
        return text.replace("\n", "⏎").replace("\t", "⇥") or "·"

    def token_id(self, word: str) -> int | None:
        """Return the id of a special token by its text; None if the tokenizer has no such token."""
        return None if self.tokenizer is None else self.tokenizer.get_added_vocab().get(word)

    def _tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise ModelProblem(f"{self.info.ref} has no tokenizer; save one beside the model, or work with token ids.")
        return self.tokenizer

    # ---- life -------------------------------------------------------------------------------------------------------

    def check_masked(self) -> int:
        """Return the mask token's id.

        Raises:
            ModelProblem: as `ModelInfo.check_masked`.
        """
        return self.info.check_masked()

    def clone(self) -> LoadedModel:
        """Return a copy whose weights can be changed without touching this one."""
        twin = copy.copy(self)
        twin.module = copy.deepcopy(self.module)
        twin.info = dataclasses.replace(self.info)
        return twin

    def native_state(self) -> dict[str, Tensor]:
        """Return the tensors by native name, in the shapes in which they are stored."""
        state = self.module.state_dict()
        if self.info.native_config.get("model_type") in TRANSPOSED:
            state.update({f"{m.name}.weight": state[f"{m.name}.weight"].t() for m in self.info.matrices})
        return pack_experts(state, self.info.keys.values())

    def save(self, folder: str | Path) -> None:
        """Write the model in its original format: the same tensor names and config, with the current weights.

        Raises:
            OperationFailed: as `save_checkpoint`; weights that are offloaded between forwards.
        """
        if self.offloaded:
            raise OperationFailed(
                f"Some weights of {self.info.ref} are out of reach; load it on one device to save it."
            )
        save_checkpoint(self.info, self.module, self.native_state(), Path(folder))
