"""DiffusionGemma's own generate, observed: a step is one call of its ``_denoising_step``.

Sort the entropies of a step's predictions and accept while their sum without the last is at most 0.1 (EB-Sampler, arXiv
2505.24857); draw the other tokens again; temperature from 0.8 to 0.4. A canvas ends early once it is stable.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor

from ..errors import InvalidInput, OperationFailed
from ..models.diffusion_gemma import Window
from .canvas import Canvas
from .check import Sampling
from .step import Step

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import SamplingOptions


class _Stop(BaseException):
    """Ends the generating thread when no more steps are wanted."""


def entropy_bound(
    model: LoadedModel, canvas: Canvas, options: SamplingOptions, sampling: Sampling, generator: torch.Generator
) -> Iterator[Step]:
    """Yield the steps of the model's own generate.

    Raises:
        InvalidInput: the tokens to fill are not whole canvases, or a temperature is given.
    """
    size = sampling.block_length
    if canvas.fill % size:
        whole = canvas.tokens.shape[1] - canvas.fill + size * max(1, round(canvas.fill / size))
        raise InvalidInput(
            f"{canvas.fill} tokens to fill, but {model.info.ref} writes canvases of {size}; give length {whole}."
        )
    if options.temperature:
        raise InvalidInput(f"temperature is {options.temperature:g}, but {model.info.ref} has its own; leave it at 0.")
    return _Observation(model, canvas, sampling, options.seed).steps()


class _Observation:
    """Runs generate in a thread and passes its steps on one at a time, so that the caller sets the pace."""

    def __init__(self, model: Any, canvas: Canvas, sampling: Sampling, seed: int) -> None:
        self._model, self._canvas, self._seed = model, canvas, seed
        self._start = canvas.tokens.shape[1] - canvas.fill
        self._canvases = canvas.fill // sampling.block_length
        self._each = max(1, sampling.steps // self._canvases)
        self._size = sampling.block_length
        self._steps: queue.Queue[Any] = queue.Queue(1)
        self._go: queue.Queue[bool] = queue.Queue(1)
        self._accepted: tuple[int, Tensor] | None = None
        self._index = 0

    def steps(self) -> Iterator[Step]:
        thread = threading.Thread(target=self._generate, daemon=True)
        thread.start()
        try:
            while (result := self._steps.get()) is not None:
                if isinstance(result, BaseException):
                    raise result
                yield result
                self._go.put(True)
        finally:
            if thread.is_alive():
                self._go.put(False)
                thread.join()

    def _generate(self) -> None:
        module, prompt = self._model.module, self._canvas.tokens[:, : self._start]
        try:
            with _observed_steps(module, self._observe), torch.random.fork_rng():
                torch.manual_seed(self._seed)
                module.generate(
                    prompt,
                    attention_mask=self._canvas.attention_mask[:, : self._start],
                    max_new_tokens=self._canvas.fill,
                    max_denoising_steps=self._each,
                )
            self._steps.put(None)
        except _Stop:
            pass
        except BaseException as error:  # handed to the caller, whose thread can raise it
            self._steps.put(error)
        finally:
            self._model.window = None

    def _observe(self, original: Callable, given: dict[str, Any]) -> tuple:
        """Compute one denoising step and pass it to the caller before generate continues."""
        written, current = given["input_ids"], given["current_canvas"]
        start, stop = written.shape[1], written.shape[1] + self._size
        tokens = self._canvas.tokens.clone()
        tokens[:, :start], tokens[:, start:stop] = written, current
        masked = torch.zeros_like(tokens, dtype=torch.bool)
        masked[:, start:] = True
        if self._accepted is not None and self._accepted[0] == start:
            masked[:, start:stop] = ~self._accepted[1]
        self._model.window = Window(start, stop, masked)
        outcome = original(**given)
        following, best, logits, finished = outcome
        last = int(given["cur_step"]) == 1 or bool(finished.all())
        kept = torch.ones_like(masked[:, start:stop]) if last else given["sampler"].accepted_token_mask
        self._accepted = start, kept
        confidence = torch.full(tokens.shape, torch.nan, device=tokens.device)
        confidence[:, start:stop] = torch.softmax(logits.float(), -1).amax(-1)
        accepted, after = torch.zeros_like(masked), tokens.clone()
        accepted[:, start:stop] = kept
        after[:, start:stop] = best if last else following
        self._steps.put(Step(self._index, self._each * self._canvases, tokens, masked, confidence, accepted, after))
        self._index += 1
        if not self._go.get():
            raise _Stop
        return outcome


@contextmanager
def _observed_steps(module: Any, observe: Callable[[Callable, dict[str, Any]], tuple]) -> Iterator[None]:
    """While open, each denoising step of ``module`` is computed by ``observe``, which gets the step and its arguments.

    Raises:
        OperationFailed: transformers' DiffusionGemma has no such step.
    """
    original = getattr(module, "_denoising_step", None)
    if original is None:
        raise OperationFailed(
            f"{type(module).__name__} of transformers {transformers.__version__} has no method _denoising_step, at "
            "which its steps are observed; install transformers 5.23."
        )
    module._denoising_step = lambda **given: observe(original, given)
    try:
        yield
    finally:
        del module._denoising_step
