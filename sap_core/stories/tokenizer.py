"""The word-level tokenizer of the demo models, as a stock Hugging Face fast tokenizer.

Text with spaces between all tokens and text as a reader writes it give the same ids; decoding gives the latter, and
encode(decode(ids)) == ids for every text of the corpus.
"""

from __future__ import annotations

from typing import Any

from sap_core.stories.corpus import vocabulary

PAD, BOS, EOS, MASK, UNK = "<pad>", "<bos>", "<eos>", "<mask>", "<unk>"
SPECIALS = (PAD, BOS, EOS, MASK, UNK)
#: Longest text the demo models read, in tokens.
CONTEXT = 256
#: A diffusion model's canvas for a text of the corpus: a multiple of the first, at least the second.
CANVAS_MULTIPLE, SHORTEST_CANVAS = 16, 64


def canvas_length(needed: int) -> int:
    """Return the size of the canvas for a text of `needed` tokens, its <eos> counted; used in training and tasks."""
    return max(SHORTEST_CANVAS, -(-needed // CANVAS_MULTIPLE) * CANVAS_MULTIPLE)


def build_tokenizer(add_bos: bool) -> Any:
    """Return a `PreTrainedTokenizerFast`.

    `add_bos`: every encoding begins with <bos>, as the autoregressive model needs.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: i for i, word in enumerate(SPECIALS + vocabulary())}
    core = Tokenizer(models.WordLevel(ids, unk_token=UNK))
    core.normalizer = normalizers.Sequence(
        # a straight quote opens after a space or at the start and closes elsewhere
        [normalizers.Lowercase(), normalizers.Replace(Regex(r'(?<=^|\s)"(?=\w)'), "“"), normalizers.Replace('"', "”")]
    )
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
    )
    closing = [decoders.Replace(f" {mark}", mark) for mark in ".,!?:”"]
    core.decoder = decoders.Sequence(
        [decoders.WordPiece(prefix="##", cleanup=False), decoders.Fuse(), *closing, decoders.Replace("“ ", "“")]
    )
    if add_bos:
        core.post_processor = processors.TemplateProcessing(f"{BOS} $A", None, [(BOS, ids[BOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        mask_token=MASK,
        unk_token=UNK,
        model_max_length=CONTEXT,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
