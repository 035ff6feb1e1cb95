"""The fused kernels against the reference: interpreted and compiled without a GPU, run where there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fused_cases import CASES, ENDS, apart, attention, queries, visible
from fused_compiled import WANTED

from sap_core.attention import kernel_dispatch
from sap_core.attention.kernel_dispatch import attention_statistics, fusable, trial
from sap_core.attention.recorder import record_attention
from sap_core.attention.row_statistics import layer_statistics

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def run(script, folder, **environment):
    pytest.importorskip("triton", reason="Triton is not installed; it comes with the dev extra on Linux x86_64")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(folder), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-W", "ignore", str(Path(__file__).parent / script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    return run("fused_cases.py", tmp_path_factory.mktemp("triton"), TRITON_INTERPRET="1")


@pytest.mark.parametrize("case", [*CASES, *ENDS])
@pytest.mark.slow
def test_the_kernels_are_the_reference(case, interpreted):
    assert interpreted[case], "every case compares something"
    for name, difference in interpreted[case].items():
        assert difference <= 1e-5, name


@pytest.mark.slow
def test_no_case_is_forgotten(interpreted):
    assert set(interpreted) == {*CASES, *ENDS}


@pytest.mark.slow
def test_the_kernels_compile_and_fit_the_smallest_gpu(tmp_path):
    for wanted, needs in zip(WANTED, run("fused_compiled.py", tmp_path), strict=True):
        assert 0 < needs["shared"] <= 99 * 1024 and needs["bytes"] > 0, wanted


def test_the_cpu_takes_the_reference():
    inputs = attention(mask=visible())
    assert not fusable(inputs.query, inputs.key)
    found, exact = (ask(inputs, *queries(37)) for ask in (attention_statistics, layer_statistics))
    assert set(apart(found, exact).values()) == {0.0}


@pytest.mark.parametrize("outcome", [0.5, RuntimeError("no C compiler\nsecond line"), float("nan")])
def test_a_trial_that_fails_is_a_warning_and_the_reference_is_used(outcome, monkeypatch):
    def pretended(*_):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(kernel_dispatch, "trial", pretended)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.warns(UserWarning, match=r"computed in pieces\.$"):
        assert not kernel_dispatch._tried.__wrapped__(torch.device("cuda:0"), torch.float16, 64)


def test_a_trial_that_holds_is_believed(monkeypatch):
    monkeypatch.setattr(kernel_dispatch, "trial", lambda *_: 1e-6)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert kernel_dispatch._tried.__wrapped__(torch.device("cuda:0"), torch.float16, 64)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not kernel_dispatch._tried.__wrapped__(torch.device("cuda:0"), torch.float16, 64)


@needs_gpu
@pytest.mark.parametrize("dtype", kernel_dispatch.DTYPES)
@pytest.mark.parametrize("width", [64, 80, 128, 256])
def test_the_trial_holds_on_this_gpu(dtype, width):
    pytest.importorskip("triton")
    assert trial(torch.device("cuda"), dtype, width) < (1e-5 if dtype == torch.float32 else 1e-3)


@needs_gpu
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("dtype", kernel_dispatch.DTYPES)
def test_a_model_on_the_gpu_is_recorded_by_the_kernels(tiny_diffusion, dtype, padded, monkeypatch):
    pytest.importorskip("triton")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_diffusion, dtype=dtype).cuda().eval().requires_grad_(False)
    tokens = torch.randint(3, 96, (2, 60), device="cuda")
    options = {"attention_mask": torch.ones_like(tokens)} if padded else {}
    if padded:
        options["attention_mask"][1, :9] = 0
    plain = model(input_ids=tokens, use_cache=False, **options).logits

    def recorded():
        with record_attention(model) as recorder:
            recorder.masked = tokens % 2 == 0
            assert torch.equal(model(input_ids=tokens, use_cache=False, **options).logits, plain)
            return recorder.collect()

    assert fusable(torch.empty(1, 1, 1, 8, dtype=dtype, device="cuda"), torch.empty(1, dtype=dtype, device="cuda"))
    found = recorded()
    for place in ("sap_core.attention.kernel_dispatch.fusable", "sap_core.attention.hooks.fusable"):
        monkeypatch.setattr(place, lambda query, key: False)
    for name, difference in apart(found, recorded()).items():
        assert difference <= (1e-5 if dtype == torch.float32 else 1e-3), name
