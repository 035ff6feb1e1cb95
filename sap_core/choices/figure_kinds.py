"""The kinds of figure and what each shows; `sap_core.figures` draws them."""

FIGURE_KINDS: dict[str, str] = {
    "heatmap": "attention received, step x position",
    "sink_rate": "share of heads in which a position is a sink, step x position",
    "kinds": "attention received by kind of token",
    "layers": "attention received in every layer",
    "layer_rates": "sink rate in every layer",
    "heads": "instability of every head",
    "components": "components of one head's instability",
    "dominance": "which positions dominate",
    "autocorrelation": "autocorrelation of attention by lag",
    "drift": "drift of attention from step to step",
    "attention_map": "every query against every key at one step; loads the model",
    "difference": "attention in one run relative to another",
    "claims": "claims on diffusion models' sinks, with intervals",
    "entropy": "row entropy over the runs",
    "distance": "attention distance over the runs",
    "masked_share": "attention from masked queries over the runs",
    "sinks": "sinks per head over the runs",
    "plan": "weights kept and removed per layer, of a pruning",
    "plan_matrices": "share removed per matrix, of a pruning",
    "plan_heads": "heads kept and removed, of a pruning",
}
ANIMATION = "animation"  # not a figure: its text and map step by step, as a file
