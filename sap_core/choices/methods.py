"""Pruning methods and patterns by name: one table for specs, pages, command line and documentation. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

BLOCK = 128  # SparseGPT: input columns that compete, and are treated between two updates of the rest
COMPARISONS = ("row", "matrix")
UNITS = ("heads", "channels", "layers", "experts")  # patterns that take whole parts out of the model
PARTS_OF_BLOCKS = UNITS[:3]  # those that a weight score can rank
WEIGHTS = ("unstructured", "N:M")
ORDERS = ("sequential", "one_shot")
AUTO = "auto"


@dataclass(frozen=True)
class Method:
    """One row of the table: what the pages show, and the recipe that `sap_core.pruning.api` follows.

    Attributes:
        score: The formula of METRICS section 4: a key of `sap_core.pruning.scoring.scores.SCORES`, "sparsegpt" (which
            also updates the remaining weights), or "heads".
        inputs: The calibration inputs of the score: "none", "clean", or "noised" (partly masked).
        sinks: How tokens that are attention sinks are down-weighted: "none"; "each": by phi of the same noised pass;
            "mean": by phi averaged over the noise levels; "lasting": as each, but lasting sinks count fully.
        sequential: Block by block, each block seeing the pruned ones before it; else one-shot on the dense model.
        orders: Which of the two are supported.
        compare: The weights that compete without an N:M pattern: those of one output "row", of the "matrix", or of a
            "block" of 128 inputs.
    """

    name: str
    title: str
    help: str
    source: str
    patterns: tuple[str, ...] = (*WEIGHTS, *PARTS_OF_BLOCKS)
    score: str = "wanda"
    inputs: str = "clean"
    sinks: str = "none"
    sequential: bool = False
    orders: tuple[str, ...] = ("sequential", "one_shot")
    compare: str = "row"

    @property
    def needs_calibration(self) -> bool:
        """Whether the score needs calibration texts."""
        return self.inputs != "none"

    @property
    def ranks_heads(self) -> bool:
        """Whether whole heads are removed by a ranking of heads that a run gives."""
        return self.score == "heads"

    @property
    def needs_mask_token(self) -> bool:
        """Whether the inputs are partly masked."""
        return self.inputs == "noised" or self.sinks == "mean"


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "magnitude",
            "Magnitude",
            "The smallest weights of each matrix.",
            "Han et al., arXiv 1506.02626",
            score="magnitude",
            inputs="none",
            orders=(),
            compare="matrix",
        ),
        Method(
            "wanda",
            "Wanda",
            "Weight times the norm of its input, per output row.",
            "Sun et al., arXiv 2306.11695",
            sequential=True,
        ),
        Method(
            "ria",
            "Relative importance",
            "A weight's share of its row and of its column, times the root of its input's norm.",
            "Zhang et al., ICLR 2024",
            score="ria",
            sequential=True,
            compare="matrix",
        ),
        Method(
            "taylor",
            "Taylor",
            "Weight times gradient: the loss that is lost, to first order; one-shot movement pruning.",
            "Molchanov et al., arXiv 1906.10771; Sanh et al., arXiv 2005.07683",
            score="taylor",
            inputs="noised",
            orders=("one_shot",),
            compare="matrix",
        ),
        Method(
            "sparsegpt",
            "SparseGPT",
            "Removes by second-order saliency and moves the weights that stay to make up for it.",
            "Frantar & Alistarh, arXiv 2301.00774",
            patterns=WEIGHTS,
            score="sparsegpt",
            sequential=True,
            compare="block",
        ),
        Method(
            "noised_wanda",
            "Wanda on noised inputs",
            "Wanda measured on partly masked texts: the control that isolates what sink-awareness adds.",
            "control; compare arXiv 2605.06366",
            inputs="noised",
        ),
        Method(
            "sink",
            "Sink-aware",
            "Wanda on noised inputs in which tokens that are attention sinks count less.",
            "arXiv 2602.17664",
            inputs="noised",
            sinks="each",
        ),
        Method(
            "sink_sparsegpt",
            "Sink-aware SparseGPT",
            "SparseGPT on clean inputs in which tokens that are sinks under noise count less.",
            "arXiv 2602.17664",
            patterns=WEIGHTS,
            score="sparsegpt",
            sinks="mean",
            sequential=True,
            compare="block",
        ),
        Method(
            "noised_sparsegpt",
            "SparseGPT on noised inputs",
            "SparseGPT whose Hessian is measured on partly masked texts, the inputs that denoising really meets.",
            "this project; arXiv 2301.00774 on the noise of arXiv 2602.17664",
            patterns=WEIGHTS,
            score="sparsegpt",
            inputs="noised",
            sequential=True,
            compare="block",
        ),
        Method(
            "sink_temporal",
            "Sink-aware, lasting sinks kept",
            "Sink-aware, but only sinks that come and go with the noise level count less; those that stay count fully.",
            "this project; the idea of arXiv 2602.17664's abstract",
            inputs="noised",
            sinks="lasting",
        ),
        Method(
            "random",
            "Random",
            "Any weights, drawn by the seed: the floor that every method must beat.",
            "control",
            patterns=(*WEIGHTS, *UNITS),
            score="random",
            inputs="none",
            orders=(),
        ),
        Method(
            "flap",
            "Fluctuation",
            "Units whose activations vary least, compensated by a bias: their mean contribution.",
            "FLAP, arXiv 2312.11983",
            patterns=("heads", "channels"),
            score="flap",
            orders=("one_shot",),
        ),
        Method(
            "expert_frequency",
            "Routing frequency",
            "The experts that the router sends the fewest tokens to.",
            "the common baseline; compare REAP, arXiv 2510.13999",
            patterns=("experts",),
            score="frequency",
            orders=("one_shot",),
            compare="unit",
        ),
        Method(
            "reap",
            "Router-weighted output norm",
            "The experts whose outputs, times the router's weight, have the least norm on the tokens they get.",
            "REAP, arXiv 2510.13999",
            patterns=("experts",),
            score="reap",
            orders=("one_shot",),
            compare="unit",
        ),
        Method(
            "noised_reap",
            "Router-weighted output norm on noised inputs",
            "REAP on partly masked texts, level by level: experts of early and of late denoising steps differ.",
            "this project; REAP, arXiv 2510.13999",
            patterns=("experts",),
            score="reap",
            inputs="noised",
            orders=("one_shot",),
            compare="unit",
        ),
        Method(
            "layer_similarity",
            "Similarity of a layer's input and output",
            "The layers that turn their input least, on partly masked texts of all noise levels.",
            "block influence of ShortGPT, arXiv 2403.03853, on the noise of denoising",
            patterns=("layers",),
            score="similarity",
            inputs="noised",
            orders=("one_shot",),
            compare="unit",
        ),
        Method(
            "layer_loss",
            "Loss without a layer",
            "The layers without which the loss on calibration texts rises least, each left out alone.",
            "compare arXiv 2402.02834",
            patterns=("layers",),
            score="loss",
            inputs="noised",
            orders=("one_shot",),
            compare="unit",
        ),
        Method(
            "heads",
            "Unstable heads",
            "Whole attention heads whose sinks move most: zeroed, or taken out with pattern heads.",
            "instability score, METRICS section 3",
            patterns=("unstructured", "heads"),
            score="heads",
            inputs="none",
            orders=(),
            compare="head",
        ),
        Method(
            "measured",
            "Measured damage",
            "Whole attention heads without which the loss rises least, as a run of `sap ablate heads` measured it.",
            "measured damage, METRICS section 9",
            patterns=("unstructured", "heads"),
            score="heads",
            inputs="none",
            orders=(),
            compare="head",
        ),
    )
}

#: What single heads can be scored by, beside their instability: weight scores, and the norm of their values.
HEAD_SCORES = (
    *(name for name, row in METHODS.items() if "heads" in row.patterns and not row.ranks_heads and name != "random"),
    "value_norm",
)
