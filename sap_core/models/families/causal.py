"""Any causal language model that transformers has a class of its own for."""

from __future__ import annotations

from ..family import AUTOREGRESSIVE, Config, Family


def matches(config: Config) -> bool:
    """Return whether transformers has a causal class for this config."""
    architectures = config.get("architectures") or []
    return any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in architectures)


FAMILY = Family(
    name="causal",
    title="Causal language model",
    examples="Llama, Qwen, Mistral, Gemma, GPT-2, GPT-NeoX, OPT, Phi; demo:stories-ar",
    objective=AUTOREGRESSIVE,
    matches=matches,
    # Whoever declares a model autoregressive wants the causal mask, whatever else its config says.
    native_config=lambda config: {name: value for name, value in config.items() if name != "is_causal"},
    samplers=("autoregressive",),
    units=("heads", "channels", "layers"),
)
