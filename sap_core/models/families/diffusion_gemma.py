"""DiffusionGemma: a causal encoder whose cache a bidirectional decoder reads; it denoises canvases of random tokens.

It has no mask token: at every step it accepts the predictions with low entropy and draws the others again. Encoder and
decoder share their weights, which are stored once, under the decoder's names.
"""

from __future__ import annotations

from ..family import MASKED_DIFFUSION, Family, model_type_is

FAMILY = Family(
    name="diffusion-gemma",
    title="DiffusionGemma",
    examples="DiffusionGemma 26B-A4B",
    objective=MASKED_DIFFUSION,
    matches=model_type_is("diffusion_gemma"),
    architecture="DiffusionGemmaForBlockDiffusion",
    has_mask=False,
    blocks="model.decoder.layers.",
    block_size=lambda config: config.get("canvas_length") or 256,
    samplers=("entropy_bound",),
    mixture=True,
    export="native; encoder and decoder share what is stored once",
    adapter="diffusion_gemma",
)
