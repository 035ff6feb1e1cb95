"""The tokenizer: stock loading, round trips, readable text."""

import pytest

from sap_core.stories.corpus import generate_stories, vocabulary, words
from sap_core.stories.tokenizer import SPECIALS, build_tokenizer


@pytest.fixture(scope="module", params=[False, True], ids=["diffusion", "ar"])
def tokenizer(request, tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(add_bos=request.param).save_pretrained(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
    loaded.adds_bos = request.param
    return loaded


def test_special_tokens_are_declared(tokenizer):
    assert tokenizer.convert_ids_to_tokens(range(5)) == list(SPECIALS)
    assert tokenizer.mask_token == "<mask>" and tokenizer.mask_token_id == 3
    assert len(tokenizer) == len(SPECIALS) + len(vocabulary())
    assert tokenizer.model_max_length == 256


def test_round_trips(tokenizer):
    for story in generate_stories(200, seed=3):
        ids = tokenizer(story.text)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(ids)[tokenizer.adds_bos :] == words(story.text)
        text = tokenizer.decode(ids, skip_special_tokens=True)
        assert text == story.text
        assert tokenizer(text)["input_ids"] == ids
        assert tokenizer(" ".join(words(story.text)))["input_ids"] == ids


def test_only_the_autoregressive_one_begins_with_bos(tokenizer):
    ids = tokenizer("the fox")["input_ids"]
    assert (ids[0] == tokenizer.bos_token_id) == tokenizer.adds_bos
    assert len(ids) == 2 + tokenizer.adds_bos


def test_typed_text_is_understood(tokenizer):
    typed = 'Tom SAID, "stop!" <mask> xylophone'
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(typed, add_special_tokens=False)["input_ids"])
    assert tokens == ["tom", "said", ",", "“", "stop", "!", "”", "<mask>", "<unk>"]
