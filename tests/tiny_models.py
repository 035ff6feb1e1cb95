"""Small models made on the spot. Weights are random and seeded; nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from string import ascii_lowercase

GOLDEN = Path(__file__).parent / "golden"
WORDS = ["<pad>", "<eos>", "<mask>", "<unk>", *(f"w{i}" for i in range(92))]


def save_word_tokenizer(folder: Path, mask: bool | None = None) -> None:
    """A 96-word tokenizer beside a model; ``mask`` says whether it names its mask token, which one of a model that
    writes from left to right does not unless told to."""
    lettered_tokenizer(_denoises(folder) if mask is None else mask).save_pretrained(folder)


def lettered_tokenizer(mask: bool = True):
    """The 96 words; any other word is read as the word of its first letter, so that no English text is unknown."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    letters = [
        normalizers.Replace(Regex(f"(?<!\\S){letter}(?!\\d+(?!\\S))[^\\s<>]*"), f"w{i}")
        for i, letter in enumerate(ascii_lowercase)
    ]
    others = normalizers.Replace(Regex(r"(?<!\S)[^\sw<][^\s<>]*"), "w26")
    inner.normalizer = normalizers.Sequence([*letters, others])
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    if mask:
        special["mask_token"] = "<mask>"
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def _denoises(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_text()) if (folder / "config.json").is_file() else {}
    causal = str((config.get("architectures") or [""])[0]).endswith(("ForCausalLM", "LMHeadModel"))
    native = not str(config.get("model_type")).startswith(("Dream", "sdar", "a2d"))
    return not (causal and native and config.get("is_causal") is not False)


def save_tiny_llama(folder: Path, *, causal: bool, mask: bool = True, seed: int = 0, layers: int = 3) -> Path:
    """A random Llama of 3 layers, 4 heads (2 key-value), width 32, 64 positions, with its tokenizer, in ``folder``."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        initializer_range=0.2,
    )
    if not causal:
        config.is_causal = False
        if mask:
            config.mask_token_id = 2
    LlamaForCausalLM(config).eval().save_pretrained(folder)
    save_word_tokenizer(folder, mask=mask and not causal)
    return folder
