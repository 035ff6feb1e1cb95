"""Any model the studio loads as a model of lm-evaluation-harness (extra `[tasks]`), under the name ``sap``.

    import sap_core.evaluation.harness
    lm_eval.simple_evaluate(model="sap", model_args={"pretrained": "demo:stories-diffusion"}, tasks=[...])

or from the shell, with the harness's own options: ``python -m sap_core.evaluation.harness run --model sap --model_args
pretrained=out/ --tasks arc_easy``.

Log-likelihood of a continuation c of n tokens after a context: exact for autoregressive models; for masked diffusion
models the Monte-Carlo bound of LLaDA (arXiv 2502.09992, eq. 14): k of the n tokens masked, k uniform on 1..n and
stratified over the draws, (n / k) * sum over masked of ln p, with the context always visible. Whether c is what the
model would write greedily is decided by its own sampler, one token per step. Both see a text in the frame that
`harness_framing` describes, which the result states (config, framing).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from ..errors import InvalidInput
from ..models.chat import chat_history_text
from ..progress import Progress
from ..specs import SamplingOptions
from .harness_framing import Framed, Framing
from .harness_requests import Generation, batches
from .likelihood import text_likelihood

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

try:
    from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]  an extra
    from lm_eval.api.registry import register_model  # pyright: ignore[reportMissingImports]  an extra
    from lm_eval.utils import get_rolling_token_windows  # pyright: ignore[reportMissingImports]  an extra
except ImportError:
    raise InvalidInput(
        "lm-evaluation-harness is not installed; install it with: pip install 'sap-studio[tasks]'."
    ) from None

# Float32 logits held at once, about 256 MB.
_HELD_LOGITS = 1 << 26
_LONGEST = 2048  # context of a model that sets no limit


@register_model("sap")
class StudioLM(LM):
    """A `LoadedModel` with the interface of the harness.

    Args:
        pretrained: demo:NAME, a folder, a Hub id, or a `LoadedModel`.
        draws: masks per log-likelihood (diffusion models).
        check_greedy: whether to let a diffusion model write each continuation to see if it is its own; tasks that only
            compare log-likelihoods are as right without, and faster.
        steps: denoising steps of a generation; default one per token, at most 64.
        sampler, block_length: as in `SamplingOptions`.
        max_gen_toks: tokens to generate where a task does not say.
        seed: of masks and sampling.
        batch_size, max_length: rows at once, and the longest context.
        dtype, device, trust_remote_code, mask_token_id, causal, shift_logits, block_size, adapter: as in `load_model`.
    """

    def __init__(
        self,
        pretrained: str | LoadedModel,
        *,
        draws: int = 128,
        check_greedy: bool = True,
        steps: int | None = None,
        sampler: str = "auto",
        block_length: int | None = None,
        max_gen_toks: int = 128,
        seed: int = 0,
        batch_size: int | str = 16,
        max_batch_size: int | None = None,
        max_length: int | None = None,
        dtype: str = "auto",
        device: str | None = None,
        trust_remote_code: bool = False,
        mask_token_id: int | None = None,
        causal: bool | None = None,
        shift_logits: bool | None = None,
        block_size: int | None = None,
        adapter: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(pretrained, str):
            from ..models.loading import load_model

            pretrained = load_model(
                pretrained,
                dtype=dtype,
                device=device or "auto",
                trust_remote_code=trust_remote_code,
                mask_token_id=mask_token_id,
                causal=causal,
                shift_logits=shift_logits,
                block_size=block_size,
                adapter=adapter,
            )
        if pretrained.tokenizer is None:
            raise InvalidInput(f"{pretrained.info.ref} has no tokenizer, so no task can be put to it.")
        if pretrained.is_diffusion:
            pretrained.check_masked()
        self.model = pretrained
        self.tokenizer = pretrained.tokenizer
        self.draws, self.check_greedy, self.seed = draws, check_greedy, seed
        self.steps, self.sampler, self.block_length = steps, sampler, block_length
        self.max_gen_toks = max_gen_toks
        self.max_length = max_length or pretrained.info.max_length or _LONGEST
        self.framing = Framing(pretrained, self.max_length)
        self.batch_size = 16 if isinstance(batch_size, str) else batch_size
        self._device = pretrained.device

    # ---- what the harness asks -------------------------------------------------------------------------------------

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation after its context, and whether the model would write it."""
        texts = [request.args for request in requests]
        framed = [self.framing.pair(*each) for each in texts]
        self._check_known(framed, [continuation for _, continuation in texts])
        if self.model.is_diffusion:
            result = list(zip(self._bound(framed, disable_tqdm), self._written(framed, disable_tqdm), strict=True))
        else:
            result = self._exact(framed, disable_tqdm)
        for each, answer in zip(texts, result, strict=True):
            self.cache_hook.add_partial("loglikelihood", each, answer)
        return result

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of whole texts; those longer than the context in windows.

        A diffusion model sees nothing but the window, in its frame; an autoregressive one also the token before it.
        """
        windows, owners, texts = [], [], []
        for i, request in enumerate(requests):
            for window in self._windows(request.args[0]):
                windows.append(window)
                owners.append(i)
                texts.append(request.args[0])
        self._check_known(windows, texts)
        totals = [0.0] * len(requests)
        measured = (
            self._bound(windows, disable_tqdm)
            if self.model.is_diffusion
            else [result for result, _ in self._exact(windows, disable_tqdm)]
        )
        for owner, result in zip(owners, measured, strict=True):
            totals[owner] += result
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Return what the model's sampler writes after each context, up to the first of the stop texts."""
        texts: dict[int, str] = {}
        end = self.tokenizer.eos_token_id
        asked = [Generation.of(i, request, self) for i, request in enumerate(requests)]
        with tqdm(total=len(asked), disable=disable_tqdm, desc="generate") as bar:
            for batch in batches(asked, self._alike, self.batch_size):
                for one, row in zip(batch, self._write(batch), strict=True):
                    row = row[: row.index(end)] if end in row else row
                    texts[one.index] = one.cut(self.model.decode(row))
                    self.cache_hook.add_partial("generate_until", requests[one.index].args, texts[one.index])
                bar.update(len(batch))
        return [texts[i] for i in range(len(requests))]

    # ---- text ------------------------------------------------------------------------------------------------------

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer, for the harness's cache."""
        return str(self.tokenizer.name_or_path or self.model.info.ref).replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a chat as text in the model's template."""
        self.framing.chat = True
        return chat_history_text(self.model.info, chat_history, generation=add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the template that chats are put into, None if they are not."""
        self.framing.chat = bool(chat_template)
        return self.model.info.chat_template if chat_template else None

    def get_model_info(self) -> dict[str, Any]:
        """Return what the harness writes into its result: how texts are framed, and what a likelihood is."""
        exact = "exact" if not self.model.is_diffusion else f"bound of {self.draws} masks, seed {self.seed}"
        return {"framing": self.framing.describe(), "likelihood": exact}

    # ---- likelihood ------------------------------------------------------------------------------------------------

    def _check_known(self, framed: list[Framed], texts: list[str]) -> None:
        rows = [self.framing.row(each) for each in framed]
        self.framing.check_known(rows, max(texts, key=len, default=""))

    def _bound(self, framed: list[Framed], quiet: bool) -> list[float]:
        """Return the bound of ln p(continuation | context) of every request; diffusion models."""
        result = [0.0] * len(framed)  # of nothing: the probability is 1
        rows = {i: row for i, row in enumerate(map(self.framing.row, framed)) if row.counted}
        with tqdm(total=len(rows), disable=quiet, desc="log-likelihood") as bar:

            def show(progress: Progress) -> None:
                bar.update(progress.done - bar.n)

            if rows:
                asked = {"draws": self.draws, "seed": self.seed, "progress": show}
                losses = text_likelihood(self.model, list(rows.values()), **asked)
                for i, nats in zip(rows, losses.nats.tolist(), strict=True):
                    result[i] = -nats
        return result

    def _written(self, framed: list[Framed], quiet: bool) -> list[bool]:
        """Return whether each continuation is what the model writes greedily; diffusion models."""
        if not self.check_greedy:
            return [False] * len(framed)
        answers = {i: True for i, each in enumerate(framed) if not each.scored}
        closes = self.model.info.row.closes_canvas
        asked = [
            Generation(i, each.before + each.after * closes, len(each.scored))
            for i, each in enumerate(framed)
            if each.scored
        ]
        with tqdm(total=len(asked), disable=quiet, desc="greedy") as bar:
            for batch in batches(asked, self._alike, self.batch_size):
                for one, row in zip(batch, self._write(batch, steps=batch[0].count), strict=True):
                    answers[one.index] = row == framed[one.index].scored
                bar.update(len(batch))
        return [answers[i] for i in range(len(framed))]

    @torch.no_grad()
    def _exact(self, framed: list[Framed], quiet: bool) -> list[tuple[float, bool]]:
        """Return ln p(continuation | context) of every request and whether each token is the most probable one."""
        result: dict[int, tuple[float, bool]] = {}
        pairs = [(each.before, each.scored) for each in framed]
        order = sorted(range(len(pairs)), key=lambda i: -sum(map(len, pairs[i])))
        with tqdm(total=len(order), disable=quiet, desc="log-likelihood") as bar:
            while len(result) < len(order):
                longest = sum(map(len, pairs[order[len(result)]])) - 1
                rows = max(1, min(self.batch_size, _HELD_LOGITS // (longest * self.model.info.vocab_size)))
                batch = order[len(result) : len(result) + rows]
                tokens = torch.zeros(len(batch), longest, dtype=torch.long)
                for row, i in zip(tokens, batch, strict=True):
                    ids = (pairs[i][0] + pairs[i][1])[:-1]
                    row[: len(ids)] = torch.tensor(ids)
                for row, i in zip(self.model.logits(tokens), batch, strict=True):
                    before, scored = pairs[i]
                    here = row[len(before) - 1 : len(before) - 1 + len(scored)]
                    targets = torch.tensor(scored, device=here.device)
                    each = torch.log_softmax(here, -1).gather(-1, targets[:, None])
                    result[i] = float(each.double().sum()), bool((here.argmax(-1) == targets).all())
                bar.update(len(batch))
        return [result[i] for i in range(len(pairs))]

    def _windows(self, text: str) -> list[Framed]:
        if self.model.is_diffusion:
            return self.framing.windows(text)
        tokens = self.model.encode(text, special=False) if text else []
        found = get_rolling_token_windows(tokens, self.framing.start, self.max_length, context_len=1)
        return [Framed(inputs[: len(inputs) - len(scored) + 1], list(scored), []) for inputs, scored in found]

    # ---- generation ------------------------------------------------------------------------------------------------

    def _alike(self, one: Generation) -> tuple:
        """Return the key of generations that can share a batch; a diffusion canvas has one length."""
        size = len(one.before) + one.count if self.model.is_diffusion else 0
        return (size, one.count, one.temperature)

    def _write(self, batch: list[Generation], steps: int | None = None) -> list[list[int]]:
        """Return the tokens written after each context. ``steps``: default those of this model's arguments."""
        from ..samplers.canvas import canvas_of_ids
        from ..samplers.dispatch import sample

        count = batch[0].count
        length = max(len(one.before) for one in batch) + count + self.model.info.row.reserves_end
        canvas = canvas_of_ids(self.model, [one.before for one in batch], length)
        asked = steps or self.steps
        options = SamplingOptions.build(
            length=length,
            steps=None if asked is None else min(asked, count),
            sampler=self.sampler,
            block_length=self.block_length,
            temperature=batch[0].temperature,
            seed=self.seed,
        )
        tokens = canvas.tokens
        for step in sample(self.model, canvas, options):
            tokens = step.next_tokens
        starts = canvas.prompt_lengths if self.model.is_diffusion else [length - canvas.fill] * len(batch)
        return [row[start : start + count].tolist() for row, start in zip(tokens, starts, strict=True)]


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate  # pyright: ignore[reportMissingImports]  an extra

    cli_evaluate()
