"""A user's own models, the whole way, against the plain re-computation in truth.py: values, order and errors."""

from __future__ import annotations

import json

import numpy as np
import pytest
import truth
from truth import BERT, HERE, QWEN3

from sap_core.errors import InvalidInput
from sap_core.evaluation.api import evaluate
from sap_core.evaluation.likelihood import draw_masks
from sap_core.evaluation.quick import quick_compare
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.specs import PruneSpec, SweepSpec
from sap_core.sweeps.cell import CellRunner
from sap_core.sweeps.grid import make_grid

pytestmark = pytest.mark.slow

FOLDERS = {"bert": BERT, "qwen3": QWEN3}
TEXTS, CALIBRATION = str(HERE / "evaluation.txt"), str(HERE / "calibration.txt")
DRAWS, SEED = 8, 0


@pytest.fixture(scope="module", params=FOLDERS)
def own(request):
    """(folder, transformers model, tokenizer)"""
    folder = FOLDERS[request.param]
    return folder, *truth.load(folder)


@pytest.fixture(scope="module")
def cells(own):
    """{(method, sparsity): record} of a sweep on texts of one's own; ("", 0) is the dense model."""
    options = {"methods": ("magnitude", "wanda"), "sparsities": (0.5, 0.7), "calibration": CALIBRATION, "text": TEXTS}
    spec = SweepSpec.build(model=str(own[0]), draws=DRAWS, device="cpu", **options)
    runner = CellRunner(spec.model_dump(mode="json"))
    found = {}
    for cell in make_grid(spec).cells:
        key = (cell.spec.method, cell.spec.sparsity) if cell.spec else ("", 0)
        found[key] = runner.run({"id": cell.id, "spec": cell.spec and cell.spec.model_dump(mode="json")})
    return found


def true_nats(own, model=None, draws=DRAWS, texts=None):
    """[texts] and their tokens, on the masks that the product draws."""
    folder, dense, tokenizer = own
    model, found = model or dense, []
    for i, text in enumerate(texts or truth.read("evaluation")):
        if folder.name == "qwen3":
            found.append(truth.causal_nats(model, tokenizer, text))
            continue
        special = np.array(tokenizer(text, return_special_tokens_mask=True)["special_tokens_mask"], bool)
        masks = [np.flatnonzero(mask) for mask in draw_masks(~special, draws, SEED, i).numpy()]
        assert not any(special[mask].any() for mask in masks)
        found.append(truth.masked_nats(model, tokenizer, text, masks))
    return np.array(found).T


def test_evaluation_agrees_with_the_truth_and_says_on_which_texts(own):
    found = evaluate(str(own[0]), text=TEXTS, draws=DRAWS, generate=0, seed=SEED)
    mean, error = truth.per_token(*true_nats(own))
    assert found["likelihood"]["nats_per_token"] == pytest.approx(mean, rel=1e-5)
    assert found["likelihood"]["standard_error"] == pytest.approx(error, rel=1e-4)
    texts = found["texts"]
    assert (texts["source"], texts["texts"], texts["available"], texts["unknown"]) == (TEXTS, 24, 24, 0)
    assert texts["tokens"] == sum(map(len, truth.read("evaluation"))) - (24 if own[0].name == "qwen3" else 0)


def test_other_masks_agree_within_their_error(own):
    """The product's draws against the truth's own: the same quantity, whichever masks estimate it."""
    if own[0].name == "qwen3":
        return  # exact: no masks
    generator = np.random.default_rng(5)
    texts = truth.read("evaluation")
    masks = [truth.draw(own[2], text, 16, generator) for text in texts]
    theirs = np.array([truth.masked_nats(own[1], own[2], text, each) for text, each in zip(texts, masks, strict=True)])
    mine, counts = true_nats(own)
    mean, error = truth.per_token(mine - theirs.T[0], counts)
    assert abs(mean) < 3 * error


def test_a_sweep_agrees_with_the_truth_in_values_order_and_errors(own, cells):
    _, dense, tokenizer = own
    base, counts = true_nats(own)
    product, plain = {}, {}
    for (method, sparsity), record in cells.items():
        if not method:
            assert record["quality"]["nats"] == pytest.approx(base.tolist(), rel=1e-4)
            continue
        apart = np.array(record["quality"]["nats"]) - np.array(cells["", 0]["quality"]["nats"])
        product[method, sparsity] = truth.per_token(apart, record["quality"]["counted"])
        pruned = truth.prune(dense, tokenizer, method, sparsity, truth.read("calibration"))
        plain[method, sparsity] = truth.per_token(true_nats(own, pruned)[0] - base, counts)
        assert product[method, sparsity] == pytest.approx(plain[method, sparsity], rel=0.01, abs=5e-4)
    apart = {key: value for key, (value, _) in plain.items()}
    settled = [(a, b) for a in apart for b in apart if apart[a] + 0.005 < apart[b]]
    assert len(settled) >= 4
    assert all(product[a][0] < product[b][0] for a, b in settled)


def test_captured_attention_and_the_ranking_of_heads_agree_with_the_truth(own, tmp_path):
    import sap_core as sap

    folder = own[0]
    run = sap.capture(str(folder), prompt="Return the ", length=32, steps=8, out=tmp_path / "run")
    found = run.trajectory
    tokens, received = found["token"].values, found["received"].values
    if folder.name == "bert":
        expected = np.stack([truth.attention(folder, ids).mean(2) for ids in tokens])
    else:  # rows do not change while the text grows: the mean over those that are there
        maps = truth.attention(folder, tokens[-1])
        expected = np.stack([maps[:, :, :known].mean(2) for known in (~found["masked"].values).sum(-1)])
    np.testing.assert_allclose(received, expected, atol=2e-6)
    ranked = sap.rank_heads(run)
    order = list(zip(ranked["layer"], ranked["head"], strict=True))
    if folder.name == "bert":
        plain = truth.heads(expected, expected * expected.shape[-1])
        assert ranked["instability"].tolist() == pytest.approx([plain[key] for key in order], abs=1e-4)
        assert [plain[key] for key in order] == pytest.approx(sorted(plain.values(), reverse=True), abs=1e-4)
    paths = expected.argmax(-1)
    moved = (paths[1:] != paths[:-1]).mean(0)
    assert ranked["switch_rate"].tolist() == pytest.approx([moved[key] for key in order], abs=1e-6)


def test_a_quick_comparison_measures_on_the_texts_that_are_given(own):
    model = load_model(str(own[0]))
    spec = PruneSpec.build(model=str(own[0]), method="magnitude", sparsity=0.7, text=TEXTS)
    found = quick_compare(model, prune(model, spec=spec).model, spec=spec)
    pruned = truth.prune(own[1], own[2], "magnitude", 0.7)
    base, counts = true_nats(own, draws=4)
    expected = truth.per_token(true_nats(own, pruned, draws=4)[0] - base, counts)
    difference = found["difference"]
    assert (difference["nats_per_token"], difference["standard_error"]) == pytest.approx(expected, rel=0.01)
    assert difference["low"] < expected[0] < difference["high"] and found["kl"]["low"] > 0
    assert found["texts"]["source"] == TEXTS and found["texts"]["texts"] == 24
    assert truth.read("evaluation")[0].startswith(found["prompt"][:4])
    assert json.loads(json.dumps(found)) == found


def test_an_export_is_what_the_truth_prunes_and_its_card_says_what_the_truth_measures(own, tmp_path):
    """Read back by transformers alone: weights, and the numbers of the card re-computed from the files."""
    import sap_core as sap

    model, out = load_model(str(own[0])), tmp_path / own[0].name
    spec = PruneSpec.build(model=str(own[0]), method="magnitude", sparsity=0.5, text=TEXTS)
    pruned = prune(model, spec=spec)
    done = sap.export_checkpoint(pruned, out, quality=quick_compare(model, pruned.model, spec=spec))
    assert done.verification["equal"]
    exported, _ = truth.load(out)
    expected = truth.prune(own[1], own[2], "magnitude", 0.5).state_dict()
    assert all(bool((weight == expected[name]).all()) for name, weight in exported.state_dict().items())
    base, counts = true_nats(own, draws=4)
    after = true_nats(own, exported, draws=4)[0]
    card = (out / "README.md").read_text(encoding="utf-8")
    for title, nats in (("this model", after), ("original", base), ("difference, paired", after - base)):
        shown = next(line for line in card.splitlines() if line.startswith(f"| {title} |")).split("|")[2]
        value, error = (float(part) for part in shown.replace("±", " ").split()[:2])
        expected = truth.per_token(nats, counts)
        assert value == pytest.approx(expected[0], abs=2e-4) and error == pytest.approx(expected[1], rel=0.06)
    assert "24 texts" in card


def test_without_texts_quality_is_on_what_calibration_left_or_what_the_dense_model_writes(own):
    model = load_model(str(own[0]))
    spec = PruneSpec.build(model=str(own[0]), method="wanda", calibration=CALIBRATION, samples=20)
    found = quick_compare(model, model, spec=spec)["texts"]
    assert found.pop("tokens") > 12 and found | {"source": ""} == {
        "source": "", "unit": "texts", "texts": 12, "available": 32, "cut": 0, "dropped": 0, "unknown": 0.0,
    }  # fmt: skip
    spec = PruneSpec.build(model=str(own[0]), method="magnitude")
    written = quick_compare(model, model, spec=spec)
    assert written["texts"]["source"] == "texts the dense model writes"
    assert written["dense"]["likelihood"]["nats_per_token"] < 3.5 < np.log(model.info.vocab_size)


def test_one_text_has_no_error_and_foreign_texts_are_refused(own, tmp_path):
    (tmp_path / "one.txt").write_text(truth.read("evaluation")[0])
    found = evaluate(str(own[0]), text=str(tmp_path / "one.txt"), generate=0)
    assert found["likelihood"]["standard_error"] is None and found["texts"]["texts"] == 1
    (tmp_path / "foreign.txt").write_text("Ένα κείμενο σε άλλη γλώσσα\nκαι ακόμη ένα\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"[89]\d% of the tokens .* are unknown"):
        evaluate(str(own[0]), text=str(tmp_path / "foreign.txt"))
    with pytest.raises(InvalidInput, match="unknown"):
        prune(load_model(str(own[0])), method="wanda", calibration=str(tmp_path / "foreign.txt"))
