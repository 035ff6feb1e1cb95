"""How tasks of the lm-evaluation-harness are put to a model: the frame is the tokenizer's, as in `evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import save_tiny_llama

from sap_core.errors import InvalidInput
from sap_core.evaluation.harness_framing import Framing
from sap_core.evaluation.texts import encoder_of
from sap_core.models.loading import load_model

OWN = Path(__file__).parents[1] / "own_model"


@pytest.fixture(scope="module")
def bert():
    return load_model(str(OWN / "bert"), device="cpu")


def words(model, ids):
    return model.tokenizer.convert_ids_to_tokens(ids)


@pytest.mark.parametrize("context", ["", "ab"])
def test_a_masked_model_sees_its_frame_around_both_and_only_the_continuation_is_scored(bert, context):
    framed = Framing(bert, 64).pair(context, " cd")
    row = Framing(bert, 64).row(framed)
    expected = encoder_of(bert).encode(f"{context} cd")[0]
    assert row.tokens.tolist() == expected == bert.encode(f"{context} cd")
    assert row.counted == row.scored.sum() == 3
    assert np.flatnonzero(row.scored).tolist() == [1 + len(context) + i for i in range(3)]
    assert framed.before[0] == bert.tokenizer.cls_token_id and framed.after == [bert.tokenizer.sep_token_id]


def test_too_long_a_context_loses_its_beginning_but_not_its_frame(bert):
    framing = Framing(bert, 12)
    framed = framing.pair("x" * 30 + "ab", "cd")
    assert words(bert, framed.before[:1]) == ["[CLS]"] and words(bert, framed.after) == ["[SEP]"]
    assert len(framed.before) + len(framed.scored) + len(framed.after) == 12
    windows = framing.windows("ab" * 12)
    assert [len(each.scored) for each in windows] == [10, 10, 4]
    assert all(words(bert, each.before + each.after) == ["[CLS]", "[SEP]"] for each in windows)
    prompt = words(bert, framing.prompt("x" * 30, 4))
    assert (prompt[0], prompt[-1], len(prompt)) == ("[CLS]", "[SEP]", 8)
    with pytest.raises(InvalidInput, match="11 tokens; the model takes 12"):
        framing.pair("", "x" * 11)


@pytest.fixture(scope="module")
def framed_causal(tmp_path_factory):
    """A causal model whose tokenizer adds a start and an end token, and whose chats bring a start token."""
    folder = save_tiny_llama(tmp_path_factory.mktemp("framed"), causal=True)
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    around = [{"SpecialToken": {"id": "<pad>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
              {"SpecialToken": {"id": "<eos>", "type_id": 0}}]  # fmt: skip
    ids = {word: document["model"]["vocab"][word] for word in ("<pad>", "<eos>")}
    document["post_processor"] = {
        "type": "TemplateProcessing", "single": around, "pair": around,
        "special_tokens": {word: {"id": word, "ids": [i], "tokens": [word]} for word, i in ids.items()},
    }  # fmt: skip
    path.write_text(json.dumps(document))
    return load_model(str(folder), device="cpu")


def test_an_autoregressive_model_reads_its_start_token_once_and_no_end(framed_causal):
    framing = Framing(framed_causal, 64)
    assert words(framed_causal, framing.pair("", "w1 w2").before) == ["<pad>"]
    framed = framing.pair("w1 w2", " w3")
    assert words(framed_causal, framed.before + framed.scored) == ["<pad>", "w1", "w2", "w3"] and not framed.after
    assert words(framed_causal, framing.pair("<pad> w1", " w2").before) == ["<pad>", "w1"]
    assert words(framed_causal, framing.prompt("w1", 4)) == ["<pad>", "w1"]
    framing.chat = True
    assert words(framed_causal, framing.pair("w1", " w2").before) == ["w1"]
    assert framing.describe()["before_a_text"] == [] and framing.describe()["chat_template"]


def test_tasks_in_a_language_that_the_model_does_not_know_are_refused(bert):
    framing = Framing(bert, 64)
    rows = [framing.row(framing.pair("ab", "Ένα"))]
    with pytest.raises(InvalidInput, match="of the tasks' continuations are unknown"):
        framing.check_known(rows, "Ένα")


@pytest.mark.extras
def test_a_masked_model_in_the_harness_is_measured_as_by_hand_and_the_result_tells_the_frame(bert):
    pytest.importorskip("lm_eval")
    from types import SimpleNamespace

    from sap_core.evaluation.harness import StudioLM

    lm = StudioLM(bert, draws=4, check_greedy=False)
    (found,) = lm.loglikelihood([SimpleNamespace(args=("", "a"))], disable_tqdm=True)
    ids = bert.encode("a")
    masked = torch.tensor([[ids[0], bert.tokenizer.mask_token_id, ids[2]]])
    expected = torch.log_softmax(bert.logits(masked)[0, 1], -1)[ids[1]]
    assert found[0] == pytest.approx(float(expected), abs=1e-5)
    told = lm.get_model_info()["framing"]
    assert (told["before_a_text"], told["after_a_text"]) == (["[CLS]"], ["[SEP]"])
    (written,) = lm.generate_until([SimpleNamespace(args=("Return the ", {"max_gen_toks": 6}))], disable_tqdm=True)
    from sap_core.evaluation.generation import generate

    own = generate(bert, ["Return the "], length=len(bert.encode("Return the ")) + 6)
    assert written == bert.decode(own.row(0, bert.tokenizer.eos_token_id))
