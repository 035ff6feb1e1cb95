"""Three prune specs, one for each strategy; documents from before there were three are read as what they said."""

from __future__ import annotations

import pytest

import sap_core as sap
from sap_core.errors import InvalidInput, UnknownOption
from sap_core.specs import (
    CaptureSpec,
    EvaluateSpec,
    ProgressivePruneSpec,
    PruneCheckpointSpec,
    PruneSpec,
    SearchPruneSpec,
    asked_spec,
    build_prune_spec,
    parse_spec,
)

# What `model_dump` of the one PruneSpec wrote into every run's spec.json and every job file.
OLD = {
    "calibration": "demo", "samples": 16, "calibration_length": None, "calibration_subset": None,
    "calibration_split": "train", "calibration_column": "text", "noise_levels": 10, "model": "demo:stories-diffusion",
    "dtype": "auto", "device": "auto", "trust_remote_code": False, "mask_token_id": None, "kind": "prune",
    "method": "sink", "sparsity": 0.5, "pattern": "unstructured", "compare": "auto", "order": "auto",
    "allocation": "uniform", "allocation_width": 0.08, "allocation_table": None, "compensate": "none", "heads": None,
    "run": None, "duplicates": "keep_one", "budget": None, "validation": None, "target_speedup": None,
    "quality_drop": None, "preset": None, "seed": 3, "name": "old",
}  # fmt: skip
NEW = {"model": "demo:stories-diffusion", "method": "sink", "samples": 16, "seed": 3, "name": "old"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, PruneSpec(**NEW)),
        ({"pattern": "heads", "compensate": True}, PruneSpec(**NEW, pattern="heads", compensate="bias")),
        ({"allocation": "table", "allocation_table": [0.4, 0.6]},
         PruneSpec(**NEW, allocation="table", allocation_table=(0.4, 0.6))),
        ({"budget": 0.1, "sparsity": 0.7}, ProgressivePruneSpec(**NEW, budget=0.1, sparsity=0.7)),
        ({"budget": 0.0, "validation": "t.txt"}, ProgressivePruneSpec(**NEW, budget=0.0, validation="t.txt")),
        ({"preset": "speed"}, SearchPruneSpec(**NEW, preset="speed")),
        ({"target_speedup": 1.3, "quality_drop": 0.05, "duplicates": "ignore", "run": "r"},
         SearchPruneSpec(**NEW, target_speedup=1.3, quality_drop=0.05, duplicates="ignore", run="r")),
    ],
)  # fmt: skip
def test_an_old_document_is_read_as_what_it_said(said, expected):
    found = parse_spec(OLD | said)
    assert type(found) is type(expected) and found == expected
    assert parse_spec(found.model_dump(mode="json")) == found  # and what is written now is read back


def test_an_old_streamed_document_is_read_too():
    found = parse_spec(OLD | {"kind": "prune_checkpoint", "out": "o", "overwrite": True, "verify": False})
    assert found == PruneCheckpointSpec(**NEW, out="o", overwrite=True, verify=False)
    assert found.pruning == PruneSpec(**NEW)


def test_a_document_with_a_field_of_another_strategy_is_refused_not_trimmed():
    for said in ({"budget": 0.1, "allocation": "owl"}, {"preset": "speed", "sparsity": 0.7}, {"validation": "t.txt"}):
        with pytest.raises(InvalidInput, match=list(said)[-1]):
            parse_spec(OLD | said)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"quality_drop": 0.1}, "belongs to target_speedup"),
        ({"budget": 0.1, "quality_drop": 0.1}, "belongs to target_speedup"),
        ({"validation": "t.txt"}, "belongs to progressive pruning"),
        ({"budget": 0.1, "allocation": "owl"}, "leave out allocation"),
        ({"budget": 0.1, "pattern": "heads"}, "unstructured and N:M"),
        ({"budget": 0.1, "preset": "speed"}, "leave out budget"),
        ({"preset": "speed", "pattern": "heads", "order": "one_shot"}, "leave out pattern, order"),
        ({"preset": "speed", "target_speedup": 1.3}, "not both"),
        ({"strategy": "search"}, "a search needs"),
        ({"strategy": "other"}, "direct, progressive, search"),
        ({"sparsities": 0.5}, "sparsities"),
    ],
)
def test_fields_of_two_strategies_are_told_apart(fields, words):
    with pytest.raises(InvalidInput, match=words):
        build_prune_spec(model="m", method="sink", **fields)


def test_a_spec_comes_alone_and_for_its_own_model():
    spec = CaptureSpec.build(model="demo:stories-ar", length=8)
    assert asked_spec(CaptureSpec.build, "demo:stories-ar", spec, {"steps": None}) is spec
    assert asked_spec(CaptureSpec.build, "m", None, {"length": 8}) == CaptureSpec(model="m", length=8)
    with pytest.raises(InvalidInput, match=r"not both \(steps\)"):
        asked_spec(CaptureSpec.build, "demo:stories-ar", spec, {"steps": 3})
    with pytest.raises(InvalidInput, match="the model is m but the spec names demo:stories-ar"):
        asked_spec(CaptureSpec.build, "m", spec, {})


def actions(tmp_path):
    """(action, its spec, a field of it) for every action that takes a spec."""
    common = {"model": "demo:stories-diffusion", "method": "magnitude"}
    out = {"out": str(tmp_path / "out")}
    prune = PruneSpec(**common)
    capture = CaptureSpec(model=common["model"])
    from sap_core.specs import ElasticSpec

    return [
        (sap.capture, capture, {"steps": 3}),
        (sap.capture_each, capture, {"steps": 3}),
        (sap.prune, prune, {"sparsity": 0.3}),
        (sap.plan_pruning, prune, {"sparsity": 0.3}),
        (sap.prune_progressively, ProgressivePruneSpec(**common, budget=0.1), {"budget": 0.2}),
        (sap.prune_checkpoint, PruneCheckpointSpec(**common, **out), {"overwrite": True}),
        (sap.evaluate, EvaluateSpec(model=common["model"]), {"samples": 3}),
        (sap.export_elastic, ElasticSpec(model=common["model"], **out), {"samples": 3}),
    ]


@pytest.mark.parametrize("number", range(8))
def test_every_action_has_the_same_check(tmp_path, number):
    action, spec, field = actions(tmp_path)[number]
    with pytest.raises(InvalidInput, match="a spec or its fields, not both"):
        action(spec.model, spec=spec, **field)
    with pytest.raises(InvalidInput, match="the model is demo:stories-ar but the spec names demo:stories-diffusion"):
        action("demo:stories-ar", spec=spec)
    assert not (tmp_path / "out").exists()


def test_a_baseline_is_the_specs_own():
    spec = EvaluateSpec(model="demo:stories-ar", baseline="demo:stories-diffusion")
    with pytest.raises(InvalidInput, match="the baseline is demo:stories-ar but the spec names demo:stories-diffusion"):
        sap.evaluate("demo:stories-ar", "demo:stories-ar", spec=spec)


def test_an_unknown_kind_names_the_known_ones():
    with pytest.raises(UnknownOption, match="prune"):
        parse_spec({"kind": "prunes"})
