"""What recording attention costs: a forward pass plain, recorded, and with eager attention's full maps kept.

One random bidirectional model of Llama's shape, the same tokens for all three. Times are interleaved: in every round
each way runs once, and what is printed is the median over rounds of the ratio to that round's plain pass (smallest and
largest in brackets); on a CPU the process's own CPU time, which other work on the machine disturbs least. Peak memory
is that of a fresh process per way (median of three): the operating system's high-water mark during the pass, less what
was resident before it; "extra" is what is above the plain pass. A few MiB either way are the allocator's.

    python benchmarks/capture.py                       # about five minutes on one core
    python benchmarks/capture.py --lengths 512 --rounds 3
    python benchmarks/capture.py --device cuda --hidden 4096 --heads 32 --batch 1
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAYS = {
    "plain": "plain forward",
    "captured": "recorded (`record_attention`)",
    "sampled": "recorded from every 4th query, an estimate",
    "eager": "eager with `output_attentions`, reduced",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps({"time": measure_time, "memory": measure_memory}[options.child](options)))
        return
    print(
        f"{options.layers} layers, {options.heads} heads, width {options.hidden}, batch {options.batch}, float32, "
        f"{options.device}, {options.threads} thread(s), {options.rounds} rounds\n"
    )
    print("| length | forward pass | time, ratio to plain | extra peak memory | share of eager's |")
    print("|---|---|---|---|---|")
    for length in options.lengths:
        times = child(options, "time", length)
        peaks = {
            way: statistics.median(child(options, "memory", length, way)["bytes"] for _ in range(3)) for way in WAYS
        }
        for way, title in WAYS.items():
            ratios = [spent / plain for spent, plain in zip(times[way], times["plain"], strict=True)]
            extra = {name: peak - peaks["plain"] for name, peak in peaks.items()}
            print(
                f"| {length} | {title} | {spread(way, ratios)} | {size(way, extra)} | {share(way, extra)} |", flush=True
            )


def child(options: argparse.Namespace, what: str, length: int, way: str = "") -> dict[str, Any]:
    """One measurement in a fresh process, so that no other leaves memory or warm caches behind."""
    same = [
        f"--{name}={getattr(options, name)}" for name in ("hidden", "layers", "heads", "batch", "threads", "device")
    ]
    own = [f"--child={what}", f"--length={length}", f"--way={way}", f"--rounds={options.rounds}"]
    command = [sys.executable, __file__, *same, *own]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    return json.loads(done.stdout.splitlines()[-1])


def measure_time(options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each way in each round; the first round warms up and is not counted."""
    ways = passes(options)
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(options.rounds + 1):
        for way, run in ways.items():
            begun = clock(options.device)
            run()
            if number:
                spent[way].append(clock(options.device) - begun)
    return spent


def measure_memory(options: argparse.Namespace) -> dict[str, int]:
    """Bytes that one pass adds at its peak, in this process, which has run nothing else."""
    import torch

    run = passes(options, [options.way])[options.way]
    if options.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return {"bytes": torch.cuda.max_memory_allocated() - before}
    before = reset_peak()
    run()
    return {"bytes": peak_bytes() - before}


def passes(options: argparse.Namespace, wanted: list[str] | None = None) -> dict[str, Callable[[], Any]]:
    """The ways as callables; eager attention gets a model of its own, with the same weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from sap_core.capture import record_attention

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    tokens = torch.randint(0, 1000, (options.batch, options.length), device=options.device)
    masked = torch.rand(tokens.shape, device=options.device) < 0.5

    def model(attention: str) -> LlamaForCausalLM:
        config = LlamaConfig(
            vocab_size=1000,
            hidden_size=options.hidden,
            intermediate_size=3 * options.hidden,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            num_key_value_heads=options.heads,
            max_position_embeddings=max(options.length, 2048),
            attn_implementation=attention,
        )
        config.is_causal = False
        torch.manual_seed(1)
        return LlamaForCausalLM(config).eval().requires_grad_(False).to(options.device)

    wanted = wanted or list(WAYS)
    usual = model("sdpa") if {"plain", "captured", "sampled"} & set(wanted) else None
    eager = model("eager") if "eager" in wanted else None

    def run_plain() -> None:
        usual(input_ids=tokens, use_cache=False)

    def run_captured(stride: int = 1) -> None:
        with record_attention(usual, stride=stride) as recorder:
            recorder.masked = masked
            usual(input_ids=tokens, use_cache=False)
            recorder.collect()

    def run_eager() -> None:
        maps = eager(input_ids=tokens, use_cache=False, output_attentions=True).attentions
        for layer in maps:
            layer.mean(-2).cpu()
            (layer * masked[:, None, :, None]).mean(-2).cpu()

    every = {
        "plain": run_plain,
        "captured": run_captured,
        "sampled": lambda: run_captured(stride=4),
        "eager": run_eager,
    }
    return {way: every[way] for way in wanted}


def clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def reset_peak() -> int:
    """Resident bytes now, with the high-water mark set back to them where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_bytes()
    return status_bytes("VmRSS")


def peak_bytes() -> int:
    try:
        return status_bytes("VmHWM")
    except OSError:  # no /proc: macOS counts in bytes, others in KiB
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def spread(way: str, ratios: list[float]) -> str:
    if way == "plain":
        return "1"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def size(way: str, extra: dict[str, int]) -> str:
    return "0" if way == "plain" else f"{max(extra[way], 0) / 2**20:.0f} MiB"


def share(way: str, extra: dict[str, int]) -> str:
    return "0" if way == "plain" else f"{max(extra[way], 0) / extra['eager']:.2f}"


if __name__ == "__main__":
    main()
