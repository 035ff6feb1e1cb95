"""Train the two small models of this folder and cut its texts: python tests/own_model/train.py [--steps N].

They stand for a user's own models: another vocabulary, other texts and other shapes than the demo's. The corpus is the
paragraphs of the docstrings of Python's standard library, which every installation carries. Every tenth module is held
out; its paragraphs are `evaluation.txt` and `calibration.txt`. One core, about ten minutes a model.
"""

from __future__ import annotations

import argparse
import ast
import math
import random
import re
import string
import sysconfig
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

HERE = Path(__file__).parent
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
POSITIONS, BATCH = 128, 16
SHORTEST, LONGEST = 30, 120
EVALUATION_TEXTS, CALIBRATION_TEXTS = 24, 32
SKIPPED = {"test", "tests", "idlelib", "site-packages", "lib2to3", "turtledemo", "__pycache__"}


def paragraphs() -> dict[str, list[str]]:
    """Return the English paragraphs of each standard library module's docstrings, one line each, none twice."""
    root, seen, found = Path(sysconfig.get_paths()["stdlib"]), set(), {}
    for file in sorted(root.rglob("*.py")):
        if SKIPPED & set(file.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        docstrings = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
        for part in re.split(r"\n\s*\n", "\n\n".join(docstrings)):
            text = " ".join(part.split())
            prose = sum(c.isalpha() or c == " " for c in text) >= 0.9 * len(text)
            if (
                SHORTEST <= len(text) <= LONGEST
                and prose
                and text.isascii()
                and text.isprintable()
                and text not in seen
            ):
                seen.add(text)
                found.setdefault(str(file.relative_to(root)), []).append(text)
    return found


def build_tokenizer(framed: bool) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer of printable ASCII; ``framed``: [CLS] and [SEP] are put around each text."""
    symbols = [*string.digits, *string.ascii_letters, *string.punctuation, "Ġ"]  # Ġ: how ByteLevel writes a space
    core = Tokenizer(models.BPE({token: i for i, token in enumerate([*SPECIALS, *symbols])}, [], unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    if framed:
        core.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    else:
        names |= {"eos_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=POSITIONS, **names)


def build_bert(vocabulary: int) -> BertForMaskedLM:
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=vocabulary, hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=192,
            max_position_embeddings=POSITIONS, type_vocab_size=1, pad_token_id=0,
            initializer_range=0.1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip
    _look_at_neighbours(model)
    return model


@torch.no_grad()
def _look_at_neighbours(model: BertForMaskedLM) -> None:
    """Start with waves as positions, and the first block's heads at offsets -1, 1, -2, 2.

    From random positions, finding the neighbours takes most of the training.
    """
    rates = math.pi * ((torch.arange(32) + 0.5) / 32) ** 1.2
    angles = torch.arange(POSITIONS)[:, None] * rates
    model.bert.embeddings.position_embeddings.weight.copy_(
        0.3 * torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    )
    attention = model.bert.encoder.layer[0].attention.self
    attention.key.weight.zero_()
    attention.query.weight.zero_()
    for head, offset in enumerate((-1, 1, -2, 2)):
        for pair, angle in enumerate((rates[2::4] * offset).tolist()):
            own, row = 8 * pair + 4, 16 * head + 2 * pair
            turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
            attention.key.weight[row : row + 2, own : own + 2] = 1.3 * torch.eye(2)
            attention.query.weight[row : row + 2, own : own + 2] = 1.3 * turn


def build_qwen3(vocabulary: int) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary, hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
            head_dim=16, intermediate_size=160, max_position_embeddings=POSITIONS, tie_word_embeddings=True,
            pad_token_id=0, bos_token_id=None, eos_token_id=3,
        )
    )  # fmt: skip


def batches(rows: list[list[int]], generator: torch.Generator):
    """Yield (tokens, valid) of random texts of about one length, [BATCH, S], padded with 0."""
    rows = sorted(rows, key=len)
    while True:
        first = int(torch.randint(len(rows) - BATCH, (1,), generator=generator))
        chosen = rows[first : first + BATCH]
        width = len(chosen[-1])
        tokens = torch.tensor([row + [0] * (width - len(row)) for row in chosen])
        yield tokens, torch.arange(width) < torch.tensor([[len(row)] for row in chosen])


def masked_loss(model, tokens, valid, generator):
    """Cross entropy of masked bytes at a rate of 0.05 to 0.8 drawn for each text, low ones more often; frames stay."""
    rate = 0.05 + 0.75 * torch.rand((len(tokens), 1), generator=generator) ** 2
    masked = (torch.rand(tokens.shape, generator=generator) < rate) & valid & (tokens >= len(SPECIALS))
    logits = model(tokens.masked_fill(masked, SPECIALS.index("[MASK]")), attention_mask=valid.long()).logits
    return cross_entropy(logits[masked], tokens[masked])


def causal_loss(model, tokens, valid, generator):
    logits = model(tokens, attention_mask=valid.long()).logits
    return cross_entropy(logits[:, :-1][valid[:, 1:]], tokens[:, 1:][valid[:, 1:]])


def train(model, tokenizer, texts: list[str], loss_of, steps: int, rate: float):
    rows = [tokenizer(text)["input_ids"] + ([] if tokenizer.cls_token else [3]) for text in texts]
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.05)
    model.train()
    for step, (tokens, valid) in zip(range(steps), batches(rows, generator), strict=False):
        loss = loss_of(model, tokens, valid, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"{step:6d} {loss.item():.3f}", flush=True)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--only", choices=("bert", "qwen3"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    modules = list(paragraphs().items())
    texts = [text for i, (_, found) in enumerate(modules) if i % 10 for text in found]
    held_out = [text for i, (_, found) in enumerate(modules) if not i % 10 for text in found]
    random.Random(0).shuffle(held_out)
    print(f"{len(texts)} texts, {sum(map(len, texts))} bytes; {len(held_out)} texts held out", flush=True)
    for name, count in (("evaluation", EVALUATION_TEXTS), ("calibration", CALIBRATION_TEXTS)):
        lines, held_out = held_out[:count], held_out[count:]
        (options.out / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for name, build, loss_of, framed, rate in (
        ("bert", build_bert, masked_loss, True, 3e-3),
        ("qwen3", build_qwen3, causal_loss, False, 4e-3),
    ):
        if options.only in (None, name):
            tokenizer = build_tokenizer(framed)
            model = train(build(len(tokenizer)), tokenizer, texts, loss_of, options.steps, rate)
            model.half().save_pretrained(options.out / name)
            tokenizer.save_pretrained(options.out / name)


if __name__ == "__main__":
    main()
