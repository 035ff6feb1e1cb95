"""Compiles the fused kernels to machine code for GPUs that need not be here; run as a script, prints what each needs as
JSON. The interpreter takes code that the compiler refuses, and this needs no GPU either."""

from __future__ import annotations

import json
import sys
from pathlib import Path

# kernel, compute capability, head dimension, element type, mask, causal and soft-capped
WANTED = (
    ("_columns_kernel", 90, 128, "bf16", "none", False),
    ("_rows_kernel", 80, 256, "fp32", "float", True),
)
ONES = ("q_d", "k_d", "step", "lse_s", "valid_s", "masked_s")  # arguments that are 1 become constants


def compiled(name: str, capability: int, width: int, dtype: str, mask: str, more: bool) -> dict[str, int]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from sap_core.attention import fused

    kernel = getattr(fused, name)
    blocks = fused.block_sizes(width, 4 if dtype == "fp32" else 2, mask != "none")
    constant = {"CAUSAL": more, "MASK": mask, "SOFTCAP": more, "WIDTH": triton.next_power_of_2(width)}
    constant |= {key: value for key, value in blocks.items() if key.isupper()}
    constant |= dict.fromkeys(ONES, 1)
    pointers = {"q": dtype, "k": dtype, "mask": "u8" if mask == "bool" else dtype, "lse": "fp32", "received": "fp32"}
    pointers |= {"parts": "fp32", "valid": "u8", "masked": "u8"}
    signature, sixteens = {}, {}
    for place, argument in enumerate(kernel.arg_names):
        if argument in constant:
            signature[argument] = "constexpr"
        elif argument in pointers:
            signature[argument] = "*" + pointers[argument]
        else:
            signature[argument] = "fp32" if argument in ("scale", "softcap", "even") else "i32"
        if argument in ("q", "k", "q_b", "q_h", "q_s", "k_b", "k_h", "k_s", "size", "width", "count"):
            sixteens[(place,)] = [["tt.divisibility", 16]]
    used = {key: value for key, value in constant.items() if key in kernel.arg_names}
    options = {key: value for key, value in blocks.items() if key.islower()}
    source = ASTSource(kernel, signature, constexprs=used, attrs=sixteens)
    binary = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return {"shared": binary.metadata.shared, "bytes": len(binary.asm["cubin"])}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    print(json.dumps([compiled(*wanted) for wanted in WANTED]))
