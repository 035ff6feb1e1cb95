"""Layers of different widths in a stock class of transformers: what an export with ``per_layer_config`` loads with.

This file stands alone: a copy of it lies in every such export, so that any transformers loads the folder with
``trust_remote_code=True``. In config.json the sizes at the top are those of the whole model, and ``per_layer_config``
lists, layer by layer, the num_attention_heads, num_key_value_heads and intermediate_size that are left.
"""

import functools

import transformers
from torch import nn

SIZES = ("num_attention_heads", "num_key_value_heads", "intermediate_size")


@functools.cache
def per_layer(kind):
    """(config class, model class) for a kind such as "Llama": the stock classes, each layer cut to its own sizes."""
    stock_config, stock_model = getattr(transformers, f"{kind}Config"), getattr(transformers, f"{kind}ForCausalLM")

    class Config(stock_config):
        def __init__(self, per_layer_config=None, **fields):
            super().__init__(**fields)
            # Under a name of its own: what transformers calls per_layer_config forbids reading the sizes at the top.
            self.layer_sizes = {int(layer): dict(sizes) for layer, sizes in (per_layer_config or {}).items()}

        def to_dict(self):
            fields = super().to_dict()
            fields.pop("layer_sizes", None)
            return fields | {"per_layer_config": {str(layer): sizes for layer, sizes in self.layer_sizes.items()}}

        def to_diff_dict(self):
            fields = super().to_diff_dict()
            fields.pop("layer_sizes", None)
            return fields | {"per_layer_config": {str(layer): sizes for layer, sizes in self.layer_sizes.items()}}

    class Model(stock_model):
        config_class = Config

        def __init__(self, config):
            super().__init__(config)
            for layer, sizes in config.layer_sizes.items():
                cut(self.model.layers[layer], *(sizes.get(name, getattr(config, name)) for name in SIZES))

    for made, name in ((Config, f"PerLayer{kind}Config"), (Model, f"PerLayer{kind}ForCausalLM")):
        made.__name__ = made.__qualname__ = name
    return Config, Model


def cut(layer, heads, key_value_heads, width):
    """Return the linear layers of one block these sizes; their values are set when the weights are read."""
    attention, forward = layer.self_attn, layer.mlp
    size = attention.head_dim
    for holder, name, rows, columns in (
        (attention, "q_proj", heads * size, None),
        (attention, "k_proj", key_value_heads * size, None),
        (attention, "v_proj", key_value_heads * size, None),
        (attention, "o_proj", None, heads * size),
        (forward, "gate_proj", width, None),
        (forward, "up_proj", width, None),
        (forward, "down_proj", None, width),
    ):
        old = getattr(holder, name)
        new = nn.Linear(
            columns or old.in_features,
            rows or old.out_features,
            bias=old.bias is not None,
            device=old.weight.device,
            dtype=old.weight.dtype,
        )
        setattr(holder, name, new)
