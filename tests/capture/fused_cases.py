"""The fused kernels on the CPU through Triton's interpreter, which has to be chosen before the kernels are imported:
run as a script, this prints how far each case is from the reference, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

SIZE = 37
NAMES = ("received", "received_masked", "entropy", "distance")
BLOCKS = 150  # longer than the tile of half precision, and no multiple of it


def attention(size=SIZE, width=8, heads=2, kv=1, dtype=torch.float32, sharpness=2.0, **options):
    """Random `Attention` of a batch of 2, with the strides that a model gives."""
    from sap_core.attention.attention_rows import Attention

    random = torch.Generator().manual_seed(0)
    query = torch.randn(2, size, heads, width, generator=random).transpose(1, 2) * sharpness
    key = torch.randn(2, size, kv, width, generator=random).transpose(1, 2) * sharpness
    return Attention(query.to(dtype), key.to(dtype), width**-0.5, **options)


def visible(size=SIZE, rows=1):
    random = torch.Generator().manual_seed(1)
    return (torch.rand(2, rows, size, size, generator=random) < 0.6) | torch.eye(size, dtype=torch.bool)


def lost_rows():
    """One query that counts and sees nothing."""
    mask = visible()
    mask[0, 0, 4] = False
    return mask


def blocked(dtype=torch.float32):
    return torch.zeros(2, 1, SIZE, SIZE, dtype=dtype).masked_fill(~visible(), torch.finfo(dtype).min)


# name -> (arguments of `attention`, stride)
CASES = {
    "plain": ({}, 1),
    "plain, sampled": ({}, 5),
    "causal": ({"causal": True}, 1),
    "causal, sampled": ({"causal": True, "size": 80, "heads": 1}, 3),
    "bool mask": ({"mask": visible()}, 1),
    "bool mask, sampled": ({"mask": visible()}, 4),
    "bool mask of padding, one row for all": ({"mask": visible()[:, :, :1]}, 1),
    "bool mask, a query that sees nothing": ({"mask": lost_rows()}, 1),
    "float mask per head": ({"mask": torch.randn(2, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(2))}, 1),
    "float mask that blocks": ({"mask": blocked()}, 1),
    "float mask in half precision": ({"mask": blocked(torch.bfloat16), "dtype": torch.bfloat16}, 1),
    "soft cap": ({"softcap": 5.0}, 1),
    "sharp": ({"sharpness": 8.0}, 1),
    "four heads to a key": ({"heads": 4}, 1),
    "every head its key": ({"kv": 2}, 1),
    "width 80": ({"width": 80}, 1),
    "width 256": ({"width": 256, "heads": 1}, 1),
    "bfloat16": ({"size": BLOCKS, "heads": 1, "width": 64, "dtype": torch.bfloat16}, 1),
    "float16, causal": ({"size": BLOCKS, "heads": 1, "width": 16, "dtype": torch.float16, "causal": True}, 1),
}
ENDS = ("log-sum-exp of torch's kernel", "nobody counts", "trial", "model", "model's output")


def bfloat16_products() -> None:
    """Triton 3.7's interpreter multiplies the bit patterns of bfloat16 as integers; a GPU multiplies the numbers."""
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def widened(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    product = InterpreterBuilder.create_dot
    InterpreterBuilder.create_dot = lambda self, a, b, *rest: product(self, widened(a), widened(b), *rest)


def queries(size):
    random = torch.Generator().manual_seed(3)
    valid = torch.ones(2, size, dtype=torch.bool)
    valid[1, :5] = False
    return valid, torch.rand(2, size, generator=random) < 0.5


def apart(found, exact) -> dict[str, float]:
    """Largest difference of each statistic; of those beyond 1 as a share of the largest value."""
    largest = {name: max(1.0, float(getattr(exact, name).abs().max())) for name in NAMES}
    return {name: float((getattr(found, name) - getattr(exact, name)).abs().max()) / largest[name] for name in NAMES}


def every_case() -> dict[str, dict[str, float]]:
    from sap_core.attention.fused import fused_statistics
    from sap_core.attention.kernel_dispatch import trial
    from sap_core.attention.log_sum_exp import keeping_log_sum_exp
    from sap_core.attention.row_statistics import layer_statistics

    bfloat16_products()
    found = {}
    for name, (options, stride) in CASES.items():
        inputs = attention(**options)
        counts = queries(inputs.query.shape[2])
        exact = layer_statistics(inputs, *counts, stride=stride)
        found[name] = apart(fused_statistics(inputs, *counts, stride), exact)
    inputs = attention()
    with torch.no_grad(), keeping_log_sum_exp() as kept:
        torch.nn.functional.scaled_dot_product_attention(inputs.query, inputs.key, inputs.key, enable_gqa=True)
    given = attention(lse=kept.of(inputs.query))
    assert given.lse is not None, "torch's flash attention on the CPU leaves the log-sum-exp"
    exact = layer_statistics(inputs, *queries(SIZE), stride=3)
    found["log-sum-exp of torch's kernel"] = apart(fused_statistics(given, *queries(SIZE), 3), exact)
    nobody = torch.zeros(2, SIZE, dtype=torch.bool)
    found["nobody counts"] = apart(fused_statistics(inputs, nobody, nobody), layer_statistics(inputs, nobody, nobody))
    found["trial"] = {"largest": trial(torch.device("cpu"), torch.float32, 32)}
    return {**found, **whole_model()}


def whole_model() -> dict[str, dict[str, float]]:
    """A padded and an unpadded pass of a model, recorded by the kernels and by the reference."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from sap_core.attention import hooks, kernel_dispatch
    from sap_core.attention.recorder import record_attention

    torch.manual_seed(0)
    sizes = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1, initializer_range=0.2)
    config.is_causal = False
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    tokens = torch.randint(3, 96, (2, SIZE))
    padding, masked = (part.long() for part in queries(SIZE))

    def recorded(**options):
        with record_attention(model) as recorder:
            recorder.masked = masked.bool()
            logits = model(input_ids=tokens, use_cache=False, **options).logits
            return logits, recorder.collect()

    exact = [recorded(), recorded(attention_mask=padding)]
    kernel_dispatch.fusable = hooks.fusable = lambda query, key: True
    fused = [recorded(), recorded(attention_mask=padding)]
    pairs = [apart(one, other) for (_, one), (_, other) in zip(fused, exact, strict=True)]
    same = [float(not torch.equal(one, other)) for (one, _), (other, _) in zip(fused, exact, strict=True)]
    return {
        "model": {name: max(pair[name] for pair in pairs) for name in NAMES},
        "model's output": {"differs": max(same)},
    }


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    torch.set_num_threads(1)
    print(json.dumps(every_case()))
