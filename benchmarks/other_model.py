"""A second diffusion model on the demo corpus, of another architecture, so that a default is not chosen on one model.

Qwen3 shape (norms on queries and keys, two query heads a key head), four layers, from nothing: about ten minutes on two
cores. Not shipped.

    python benchmarks/other_model.py --out other-diffusion
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

import torch
from demo_training.batches import batch
from demo_training.objectives import mask_ceiling, masked_losses, open_up
from demo_training.optimizer import build_optimizers, schedule
from demo_training.parallel import Workers, accumulate_gradients
from transformers import Qwen3Config, Qwen3ForCausalLM

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
    train(model, tokenizer.mask_token_id, args.steps, args.seed)
    aside = args.out.with_name(f".{args.out.name}.new")
    model.eval().save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    os.replace(aside, args.out)
    print(args.out)


def train(model, mask_id: int, steps: int, seed: int) -> None:
    """The demo's recipe for a masked diffusion model, from nothing."""
    parameters, generator = list(model.parameters()), torch.Generator().manual_seed(seed)
    seen = partial(open_up, model)
    with Workers(2) as workers:
        optimizers = build_optimizers(model, 8e-3, 4e-3, workers)
        base = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
        for step in range(steps):
            for optimizer, lr in zip(optimizers, base, strict=True):
                optimizer.param_groups[0]["lr"] = lr * schedule(step, steps)
            drawn = batch(step, size=16, seed=seed, causal=False)
            losses = masked_losses(seen, drawn, mask_id, generator, mask_ceiling(step / steps), workers.n)
            loss = accumulate_gradients(parameters, losses, workers)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            if (step + 1) % 25 == 0:
                print(f"{step + 1}/{steps} loss {loss:.3f}", end="\r", file=sys.stderr)


if __name__ == "__main__":
    main()
