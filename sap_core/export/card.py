"""The model card: what was done, measured loss, how to load it, and limitations."""

from __future__ import annotations

from typing import Any

from ..choices.methods import METHODS
from ..choices.quantizers import SOLVER
from ..choices.strategies import PRESETS
from ..errors import required
from ..models.code_files import CodeFiles
from ..pruning.planning.plan import PruningPlan
from ..texts.wording import texts_line, with_error

NO_CODE = CodeFiles()
_HEADER = """---
library_name: transformers
tags:
- pruned
- sink-aware-pruning
---
"""


def model_card(
    *,
    name: str,
    source: str,
    objective: str,
    loader: str,
    auto_class: str,
    pruning: dict[str, Any] | None,
    healing: dict[str, Any] | None = None,
    quality: dict[str, Any] | None,
    size: dict[str, int],
    own_code: bool = False,
    code: CodeFiles = NO_CODE,
) -> str:
    """Return the text of README.md.

    Args:
        name: Name of the exported model.
        source: Name of the dense model.
        objective: "diffusion" or "autoregressive".
        loader: "transformers" or "sap_core".
        auto_class: Auto class of transformers that reads it.
        pruning: {"spec", "plan", "report"}, or None for a dense export.
        healing: {"spec", "report"}, or None.
        quality: What `evaluate` or `quick_compare` returned, or None.
        size: Parameters and bytes.
        own_code: Whether the folder contains a modelling file written here.
        code: The publisher's code, as config.json names it.
    """
    parts = [_HEADER + f"# {name}"]
    kind = objective.replace("_", " ")
    if pruning:
        parts += pruning_section(pruning, kind)
    else:
        parts.append(f"{'A' if healing else 'An unpruned'} copy of `{source}` ({kind}).")
    if healing:
        parts.append(healing_section(healing))
    quantization = (pruning or {}).get("report", {}).get("quantized")
    if quantization:
        parts.append(_quantized_use(quantization))
    parts += [
        _quality(quality),
        _size(size),
        _loading(loader, auto_class, objective, own_code, code, source),
        _check(bool(code.here) and not own_code),
    ]
    return "\n\n".join(parts) + "\n"


def loading_code(loader: str, auto_class: str, folder: str = "PATH", *, own_code: bool = False) -> str:
    """Return the lines of Python that load an export; ``own_code``: it contains a modelling file."""
    if loader == "transformers":
        trust = ", trust_remote_code=True" if own_code else ""
        return (
            f"from transformers import {auto_class}, AutoTokenizer\n\n"
            f'model = {auto_class}.from_pretrained("{folder}", dtype="auto"{trust})\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{folder}")'
        )
    return f'import sap_core as sap\n\nmodel = sap.load_model("{folder}")  # model.module is the transformers model'


def pruning_section(pruning: dict[str, Any], kind: str = "") -> list[str]:
    """Return what was pruned and how; ``kind``: of the model, in words."""
    method = METHODS[pruning["spec"]["method"]]
    origin = f" ({method.source})" if method.source else ""
    said = f"`{pruning['spec']['model']}` ({kind}) pruned with **{method.title}**{origin}. {method.help}"
    return [said, _table(pruning), _size_words(pruning)]


def _table(pruning: dict[str, Any]) -> str:
    spec, report = pruning["spec"], pruning["report"]
    rows = [("method", report["method"]), ("pattern", report["pattern"])]
    if report.get("allocation", "uniform") != "uniform":
        rows.append(("allocation", report["allocation"]))
    rows += _asked(spec)
    rows.append(("sparsity found in the pruned matrices", f"{report['sparsity']:.4f}"))
    if report["heads"]:
        rows.append(("heads removed (layer.head)", ", ".join(f"{layer}.{head}" for layer, head in report["heads"])))
    if report["calibration"]:
        used = report["calibration"]
        rows.append(("calibration", f"{used['source']}, {used['samples']} x {used['length']} tokens"))
    if report.get("quantized"):
        rows.append(("quantized", quantized_words(report["quantized"])))
    rows.append(("seed", str(spec["seed"])))
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows)])


def healing_section(healing: dict[str, Any]) -> str:
    """Return how a model was healed."""
    spec, report = healing["spec"], healing["report"]
    what = {"weights": "the weights of the blocks", "norms": "norms and biases alone", "lora": "low-rank additions"}
    first, best = (
        next(check["kl"] for check in report["checks"] if check["step"] == step) for step in (0, report["best_step"])
    )
    zeros = "Zeros moved: as many weights grew as were dropped" if spec["moving_mask"] else "Zeros stayed zero"
    told = [
        f"Trained on the predictions of `{report['teacher']}` at {'masked' if report['masked'] else 'next'} tokens (KL "
        f"divergence): {report['steps']:,} steps of {spec['batch']} texts from {report['texts']['train']['source']}.",
        f"What learned: {what[spec['train']]} ({report['learning']['parameters']:,} values), with a largest learning "
        f"rate of {report['learning_rate']:g} and seed {spec['seed']}. {zeros}.",
        f"The weights are those of step {report['best_step']:,}, the best on held-out texts: KL {first:.4f} before, "
        f"{best:.4f} then. The quality below was measured on other texts, neither learned from nor used to choose.",
    ]
    return "## Healing\n\n" + " ".join(told)


def _asked(spec: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the settings that were asked for: a sparsity, a budget, or a point on the measured curve."""
    if spec.get("preset"):
        return [("preset", PRESETS[spec["preset"]].title)]
    if spec.get("target_speedup"):
        return [("speed-up asked", f"{spec['target_speedup']:g}")]
    rows = [("sparsity asked", f"{spec['sparsity']:g}")]
    return rows + ([("budget of loss", f"{spec['budget']:.1%}")] if spec.get("budget") is not None else [])


def _quality(quality: dict[str, Any] | None) -> str:
    if not quality:
        return "## Quality\n\nNot measured at export. `sap evaluate --model PATH --baseline ORIGINAL` measures it."
    pruned = quality.get("pruned", quality)
    dense = quality.get("dense", quality.get("baseline"))
    lines = ["## Quality", "", "| | nats per token | perplexity |", "|---|---|---|"]
    before = quality.get("before")
    for title, side in (("this model", pruned), ("before healing", before), ("original", dense)):
        if side:
            result = side["likelihood"]
            lines.append(f"| {title} | {with_error(result, '.4f')} | {result['perplexity']:.3f} |")
    if quality.get("difference"):
        lines.append(f"| difference, paired | {with_error(quality['difference'], '+.4f')} | |")
    if quality.get("kl"):
        lines.append(f"| KL from the original | {with_error(quality['kl'], '.4f')} | |")
    meaning = "an upper bound (masked diffusion)" if pruned["likelihood"]["kind"] == "bound" else "exact"
    measured = texts_line(quality["texts"]) if quality.get("texts") else ""
    lines += ["", f"Negative log-likelihood, {meaning}, ± standard error over texts; lower is better. {measured}"]
    lines += _tasks(pruned.get("tasks"), (dense or {}).get("tasks"))
    return "\n".join(lines)


def _tasks(tasks: dict[str, Any] | None, dense: dict[str, Any] | None) -> list[str]:
    if not tasks:
        return []
    lines = ["", "| task | this model | original | examples |", "|---|---|---|---|"]
    for name, result in tasks.items():
        if "score" not in result:
            continue
        original = f"{dense[name]['score']:.2f}" if dense else ""
        lines.append(f"| {name} | {result['score']:.2f} | {original} | {result['n']} |")
    return lines


def quantized_words(found: dict[str, Any]) -> str:
    """Return how weights were quantized, and what it saves."""
    grid = f"int{found['bits']}, " + (f"groups of {found['group']} inputs" if found["group"] else "a scale per output")
    how = "second-order solver" if found["by"] == SOLVER else "rounding to the nearest"
    bytes_ = f"{found['bytes']:,} bytes where {found['bytes_before']:,} were"
    return f"{grid}, by {how}; the {found['matrices']} matrices of the blocks take {bytes_}"


def _quantized_use(quantization: dict[str, Any]) -> str:
    return (
        f"## Quantized weights\n\n{quantized_words(quantization)}. Pruned weights are exact zeros on the grid. The "
        "format is compressed-tensors' pack-quantized: `pip install compressed-tensors`, and transformers loads the "
        "folder. It unpacks the weights then, so files are smaller, but memory and speed are those of the unquantized "
        "model; vLLM and SGLang have kernels that compute from packed weights, which were not run here."
    )


def _size(size: dict[str, int]) -> str:
    return (
        f"## Size\n\n{size['parameters']:,} parameters, {size['nonzero_parameters']:,} of them not zero; "
        f"{size['bytes']:,} bytes of weights."
    )


def _size_words(pruning: dict[str, Any]) -> str:
    """Return what the pattern means for size and speed."""
    if pruning["plan"]["shape"]:
        left = required(PruningPlan.from_dict(pruning["plan"]).left(), "the shape left").words()
        return f"Whole {pruning['plan']['pattern']} were taken out, so it is smaller and has less to compute: {left}."
    return (
        "Pruned weights are stored as zeros in matrices of the original shape, so the files and the speed of "
        "dense kernels stay as they were. Nothing here makes it faster: vLLM no longer has sparse kernels, and "
        "those of PyTorch (2:4 on NVIDIA GPUs, `torch.sparse.to_sparse_semi_structured`) have to be asked for when "
        "the model is loaded."
    )


def _loading(loader: str, auto_class: str, objective: str, own_code: bool, code: CodeFiles, source: str) -> str:
    text = f"## Load\n\n```python\n{loading_code(loader, auto_class, own_code=own_code)}\n```"
    if own_code:
        text += (
            "\n\nIts layers differ in width (`per_layer_config` in config.json), which no stock class builds alone: "
            "`modeling_per_layer.py` in this folder does. `sap_core.load_model` needs neither that file nor consent."
        )
    if loader == "sap_core":
        text += (
            "\n\nThe folder keeps the tensor names and config of the original, which no stock class reads; "
            "the original's own code does where it runs, and `sap_core.load_model` does everywhere."
        )
    if not own_code:
        text += _original_code(code, loader, source)
    if objective == "masked_diffusion":
        text += (
            "\n\nIt is a masked diffusion model: `generate` does not apply. Fill mask tokens step by step, for example "
            'with `sap capture --model PATH --prompt "..."`.'
        )
    return text


def _original_code(code: CodeFiles, loader: str, source: str) -> str:
    """Return which files of the original's code are in the folder, and where the others are to be had."""
    text = ""
    if code.here:
        text += (
            f"\n\nThe original's code is in this folder, byte for byte: {_names(code.here)}. transformers runs it with "
            "`trust_remote_code=True`, and only then: read it first."
        )
    if code.missing:
        text += (
            f"\n\nconfig.json names {_names(code.missing)} as the original's code, which this folder does not have: "
            f"download it from `{source}` and put it beside config.json."
        )
    if code.elsewhere:
        text += (
            f"\n\nconfig.json names code of other Hub models, which is fetched from there: {_names(code.elsewhere)}."
        )
    if not code and loader == "sap_core":
        text += f"\n\nIts config.json names no code; where there is some, it is where `{source}` was published."
    return text


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _check(original_code: bool) -> str:
    original = " `sap verify PATH --original-code` does so with the original's code." if original_code else ""
    return (
        "## Check\n\n`sap_verify.safetensors` holds fixed tokens and this model's logits on them; "
        f"`sap verify PATH` compares a loaded copy with them in a fresh process.{original} "
        "`sap_manifest.json` has the hash of every file, the versions, the seed and the full specification."
    )
