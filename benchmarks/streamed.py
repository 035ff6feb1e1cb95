"""Peak memory of streamed pruning as a share of the checkpoint: random LLaDA-format weights, pruned file to file.

    python benchmarks/streamed.py                       # 1.5 B parameters, 3 GB of disk twice
    python benchmarks/streamed.py --parameters 40000000 # seconds

Makes a checkpoint of bfloat16 weights in shards in a temporary folder, prunes it in a process of its own for every
method, and prints one row each. Peak: the largest resident set of that process (VmHWM of /proc/self/status, so Linux
only); imports: the same once everything is imported and before a model is opened. Ratio: (peak - imports) / bytes of
the checkpoint's weights. With ``--blocks N`` the process is stopped after N blocks: all blocks are of one size and go
through the same steps, so the peak is there after two; the row says so.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARD = 400 << 20  # bytes
VOCABULARY, MASK = 126_464, 126_336


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=int, default=1_500_000_000, help="at least so many")
    parser.add_argument("--methods", default="magnitude,wanda,sink,sparsegpt", help="with commas")
    parser.add_argument("--pattern", default="unstructured")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--length", type=int, default=128, help="tokens per calibration text")
    parser.add_argument("--blocks", type=int, default=0, help="stop after so many; 0: all, and the finished checkpoint")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", help="where to make the temporary folder")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(prune(args)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        shape = geometry(args.parameters)
        started = time.time()
        weights, parameters = make_checkpoint(Path(folder) / "model", shape)
        make_texts(Path(folder) / "texts.npy", args.samples, args.length)
        print(
            f"{parameters / 1e9:.2f} B parameters in bfloat16 ({weights / 2**30:.2f} GiB, made in "
            f"{time.time() - started:.0f} s): {shape['layers']} layers of width {shape['width']}, feed-forward "
            f"{shape['ffn']}, vocabulary {VOCABULARY}; {args.samples} texts of {args.length} tokens; {args.threads} "
            f"threads, {args.device}\n"
        )
        print("| method | blocks | peak RSS, MiB | imports, MiB | difference / checkpoint | seconds |")
        print("|---|---|---|---|---|---|")
        for method in args.methods.split(","):
            print(row(method, measured(args, method, folder), weights, shape["layers"]), flush=True)


def row(method: str, found: dict, weights: int, layers: int) -> str:
    """One line of the table."""
    share = (found["peak"] - found["imports"]) / weights
    return (
        f"| {method} | {found['blocks']} of {layers} | {found['peak'] / 2**20:.0f} | {found['imports'] / 2**20:.0f} "
        f"| {share:.3f} | {found['seconds']:.0f} |"
    )


def measured(args: argparse.Namespace, method: str, folder: str) -> dict:
    """What the process that prunes says of itself."""
    words = [f"--{name}={getattr(args, name)}" for name in ("pattern", "blocks", "threads", "device")]
    command = [sys.executable, __file__, "--child", folder, "--methods", method, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def prune(args: argparse.Namespace) -> dict:
    """In the process of its own: peak and imports in bytes, seconds, blocks pruned."""
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401 (what opening the model imports)

    from sap_core.errors import Cancelled
    from sap_core.export.streamed import prune_checkpoint

    torch.set_num_threads(args.threads)
    imports, blocks = peak_memory(), 0

    def report(progress) -> None:
        nonlocal blocks
        if progress.stage == "prune" and not progress.message:
            blocks = progress.done
            if blocks == args.blocks:
                raise Cancelled("enough blocks")

    folder, started = Path(args.child), time.time()
    fields = {"method": args.methods, "pattern": args.pattern, "calibration": str(folder / "texts.npy")}
    try:
        out = folder / f"pruned-{args.methods}"
        prune_checkpoint(
            str(folder / "model"), out, verify=False, device=args.device, dtype="bfloat16", progress=report, **fields
        )
    except Cancelled:
        pass
    return {"peak": peak_memory(), "imports": imports, "seconds": time.time() - started, "blocks": blocks}


def peak_memory() -> int:
    """Bytes of this process' largest resident set so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def geometry(parameters: int) -> dict[str, int]:
    """Width, heads, feed-forward width and layers of a LLaDA with at least so many parameters."""
    width = 2048 if parameters >= 1_000_000_000 else 128
    ffn = 11 * width // 4
    block = 4 * width * width + 3 * width * ffn + 2 * width
    layers = max(2, math.ceil((parameters - 2 * VOCABULARY * width - width) / block))
    return {"width": width, "heads": width // 64, "ffn": ffn, "layers": layers}


def make_checkpoint(folder: Path, shape: dict[str, int]) -> tuple[int, int]:
    """Writes it; (bytes of all tensors, number of parameters)."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    pool = (torch.randn(1 << 24) * 0.02).bfloat16()  # every tensor is cut out of it somewhere: time goes into writing
    names, shard, numbers, held = {}, {}, 0, 0

    def write() -> None:
        name = f"model-{len(set(names.values())) + 1:05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        names.update(dict.fromkeys(shard, name))
        shard.clear()

    for key, size in tensors_of(shape):
        value = torch.ones(size, dtype=torch.bfloat16)
        if len(size) == 2:
            first = int(torch.randint(len(pool), ()))
            flat, at = value.view(-1), 0
            while at < len(flat):
                part = pool[first : first + len(flat) - at]
                flat[at : at + len(part)] = part
                at, first = at + len(part), 0
        shard[key] = value
        numbers += value.numel()
        held += value.nbytes
        if held > SHARD:
            write()
            held = 0
    if shard:
        write()
    index = {"metadata": {"total_size": 2 * numbers}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "model_type": "llada",
        "architectures": ["LLaDAModelLM"],
        "d_model": shape["width"],
        "n_heads": shape["heads"],
        "n_kv_heads": shape["heads"],
        "n_layers": shape["layers"],
        "mlp_hidden_size": shape["ffn"],
        "embedding_size": VOCABULARY,
        "vocab_size": VOCABULARY,
        "max_sequence_length": 4096,
        "rope_theta": 500000.0,
        "weight_tying": False,
        "mask_token_id": MASK,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return 2 * numbers, numbers


def tensors_of(shape: dict[str, int]) -> list[tuple[str, tuple[int, ...]]]:
    """LLaDA's tensor names and sizes, in the order of its checkpoints."""
    width, ffn = shape["width"], shape["ffn"]
    square, wide = (width, width), (ffn, width)
    inside = {"attn_norm": (width,), "ff_norm": (width,), "q_proj": square, "k_proj": square, "v_proj": square}
    inside |= {"attn_out": square, "ff_proj": wide, "up_proj": wide, "ff_out": (width, ffn)}
    found = [("model.transformer.wte.weight", (VOCABULARY, width))]
    for layer in range(shape["layers"]):
        found += [(f"model.transformer.blocks.{layer}.{name}.weight", size) for name, size in inside.items()]
    return [
        *found,
        ("model.transformer.ln_f.weight", (width,)),
        ("model.transformer.ff_out.weight", (VOCABULARY, width)),
    ]


def make_texts(path: Path, samples: int, length: int) -> None:
    """Random token ids, int64 (samples, length)."""
    import numpy as np

    np.save(path, np.random.default_rng(0).integers(0, MASK, (samples, length)))


if __name__ == "__main__":
    main()
