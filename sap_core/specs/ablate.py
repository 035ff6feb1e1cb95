"""Block sinks, or leave heads out, and measure what it costs."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from ..choices.methods import HEAD_SCORES
from ..choices.sink_rules import SINK_RULES, SinkRule, sink_rule
from ..errors import InvalidInput, UnknownOption
from .base import NAME, SEED
from .model import ModelOptions
from .options import option
from .texts import TextOptions


class AblationOptions(ModelOptions, TextOptions):
    """What both interventions are measured on."""

    samples: int = option(32, "Texts, and examples of each task.", ge=2)
    draws: int = option(8, "Mask draws per text (diffusion), each at another level of masking.", ge=1)
    seed: int = option(0, SEED)
    name: str = option("", NAME)


class AblateSinksSpec(AblationOptions):
    """Measure a model whose heads can't attend to their sinks, beside controls of other positions."""

    kind: Literal["ablate_sinks"] = "ablate_sinks"
    top: tuple[int, ...] = option(
        (0, 1, 5, 10), "How many sinks of each head are blocked, comma-separated; 0: none, which changes nothing."
    )
    rule: str | None = option(
        None,
        f"Block only positions that this rule calls sinks: {', '.join(SINK_RULES)}.",
        shown="the positions that receive most",
    )
    threshold: float | None = option(None, "The rule's threshold.", shown="the rule's own")
    by: Literal["step", "run"] = option(
        "step", "step: the sinks of each step; run: those of the mean over all steps of the text, at every step."
    )
    what: Literal["scores", "values"] = option(
        "scores", "scores: a sink can't be attended to, the rest is renormalised; values: it is, but gives nothing."
    )
    heads: tuple[tuple[int, int], ...] = option((), "Only in these heads, LAYER.HEAD with commas.", shown="all heads")
    each_head: bool = option(False, "Also in one head at a time: the strongest sinks of that head alone.")
    controls: bool = option(
        True, "Beside the sinks: as many other positions, and others of equal mass.", shown="controls"
    )
    tasks: bool = option(False, "Score the demo's tasks, written while positions are blocked.")
    generate: int = option(8, "Texts the model goes on with while positions are blocked, to compare; 0: none.", ge=0)
    parts: int = option(
        0, "Block in one part of the generation at a time, of so many: when do sinks matter? (diffusion); 0: not.", ge=0
    )

    @property
    def sink_rule(self) -> SinkRule | None:
        """The rule that decides which positions are sinks; None: the strongest are taken."""
        return None if self.rule is None else sink_rule(self.rule, self.threshold)

    @model_validator(mode="after")
    def _sensible(self) -> AblateSinksSpec:
        if any(count < 0 for count in self.top) or not any(self.top) or len(set(self.top)) < len(self.top):
            told = ",".join(map(str, self.top))
            raise InvalidInput(f"top is '{told}'; expected different numbers of sinks, at least one above 0: 0,1,5,10.")
        if self.rule is None and self.threshold is not None:
            raise InvalidInput(f"threshold is {self.threshold:g} but no rule is named; give --rule too.")
        _ = self.sink_rule
        if self.parts == 1 or (self.parts and not self.generate):
            raise InvalidInput(f"parts is {self.parts}; it needs at least 2, and texts to go on with (generate).")
        return self


class AblateHeadsSpec(AblationOptions):
    """Measure a model without each of its heads, and which ranking of heads would have been best."""

    kind: Literal["ablate_heads"] = "ablate_heads"
    run: str | None = option(
        None,
        "A capture of the same model, whose instability is compared with the damage.",
        shown="a short text that the model writes",
        reads="run",
    )
    scores: tuple[str, ...] = option(
        ("wanda", "taylor", "flap", "value_norm"), f"Other scores to compare, of {', '.join(HEAD_SCORES)}."
    )
    greedy: int = option(
        0, "Also find so many heads that can go together, adding the least harmful one at a time; 0: none.", ge=0
    )
    curves: bool = option(
        True, "Remove more and more heads by each ranking, with random orders beside.", shown="curves"
    )

    @field_validator("scores")
    @classmethod
    def _scores(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in HEAD_SCORES:
                raise UnknownOption("score of heads", name, HEAD_SCORES)
        return value
