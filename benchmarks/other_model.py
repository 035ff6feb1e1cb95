"""A second diffusion model on the demo corpus, of another architecture, so that a default is not chosen on one model.

Qwen3 shape (norms on queries and keys, two query heads a key head), four layers, from nothing: about ten minutes on two
cores. Not shipped.

    python benchmarks/other_model.py --out other-diffusion
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch
from demo_training.train import Recipe, fit
from transformers import Qwen3Config, Qwen3ForCausalLM

from sap_core.progress import Progress
from sap_core.stories.tokenizer import CONTEXT, build_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out} exists")
    tokenizer = build_tokenizer(add_bos=False)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=160, intermediate_size=448, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=3, head_dim=32, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    config.is_causal, config.mask_token_id, config.sap_objective = False, tokenizer.mask_token_id, "masked_diffusion"
    config.sap_shift_logits = True
    config.architectures = ["Qwen3ForCausalLM"]
    torch.manual_seed(args.seed)
    model = Qwen3ForCausalLM(config).train()
    aside = args.out.with_name(f".{args.out.name}.new")
    state_file = args.out.with_name(f".{args.out.name}.training.pt")
    fit(model, Recipe(steps=args.steps, seed=args.seed), state_file, progress=_show)
    model.eval().save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    os.replace(aside, args.out)
    state_file.unlink()
    print(args.out)


def _show(progress: Progress) -> None:
    loss = progress.data.get("loss", "")
    print(f"{progress.done}/{progress.total} loss {loss}", end="\r", file=sys.stderr)


if __name__ == "__main__":
    main()
