"""Bad model folders: headers, indexes, configs, tokenizers, files that are none, code that must not run."""

# ruff: noqa: E501 (one case a line)

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fork_runner import RAN, Case

COMMANDS: dict[str, list[Any]] = {
    "models": ["models", "model"],
    "capture": ["capture", "--model", "model", "--length", 12, "--steps", 2, "--out", "out"],
    "prune": ["prune", "--model", "model", "--method", "wanda", "--samples", 2, "--no-verify", "--out", "out"],
    "streamed": ["prune", "--model", "model", "--method", "magnitude", "--streamed", "--no-verify", "--out", "out"],
    "evaluate": ["evaluate", "--model", "model", "--samples", 1, "--draws", 1, "--generate", 0],
    "elastic": ["elastic", "--model", "model", "--samples", 2, "--no-verify", "--out", "out"],
}
Change = Callable[[Path], None]


def model_cases(base: Path) -> Iterator[Case]:
    """Every change of a sound model ``base`` under several commands."""
    commands = list(COMMANDS)
    for number, (kind, name, change, allowed) in enumerate(_changes()):
        # Every change meets loading whole and from headers alone; the other commands take turns.
        chosen = {"models", "capture", commands[number % len(commands)]}
        if kind == "tokenizer":  # which meets other texts there
            chosen |= {"prune", "evaluate"}
        for command in commands:
            if command in chosen:
                yield Case(f"{kind}: {name}: {command}", kind, partial(_prepare, base, change, command), allowed)


def _prepare(base: Path, change: Change, command: str, folder: Path) -> list[Any]:
    shutil.copytree(base, folder / "model")
    change(folder / "model")
    return COMMANDS[command]


def _changes() -> Iterator[tuple[str, str, Change, tuple[int, ...]]]:
    for name, change in _headers():
        yield "safetensors header", name, partial(_header, change), (0, 2) if "name" in name else (2,)
    for name, raw in _raw_headers().items():
        yield "safetensors header", name, partial(_raw_header, raw), (2,)
    for name, index in _indexes().items():
        yield "index of shards", name, partial(_index, index), (2,)
    for field, values in _fields().items():
        for value in values:
            yield "config value", f"{field}={str(value)[:30]}", partial(_json, "config.json", {field: value}), (0, 2)
    for name, text in _texts().items():
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            yield "JSON document", f"{file}: {name}", partial(_text, file, text), (2,)
    for file in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    ):
        for name, change in _no_files().items():
            yield "not a file", f"{file} is a {name}", partial(_instead, change, file), (2,)
    for field, values in _tokenizer_fields().items():
        for value in values:
            change = partial(_json, "tokenizer_config.json", {field: value})
            yield "tokenizer", f"{field}={str(value)[:30]}", change, (0, 2)
    for name, change in _tokenizers().items():
        yield "tokenizer", name, change, (0, 2)
    for name, change in _code().items():
        yield "code without consent", name, change, (0, 2)
    for name, change in _weights().items():
        # Headers alone, which `sap models` reads, show neither values nor which tensors the class needs.
        yield "weights", name, change, (2,) if name in ("of whole numbers", "cut short") else (0, 2)


def _headers() -> Iterator[tuple[str, Callable[[dict, str], Any]]]:
    yield "reversed", lambda h, k: h[k]["data_offsets"].reverse()
    yield "overlapping", lambda h, k: h[list(h)[-1]].update(data_offsets=h[k]["data_offsets"])
    yield "a hole", lambda h, k: h.pop(k) and None
    yield "twice the size", lambda h, k: h[k].update(shape=[2 * h[k]["shape"][0], *h[k]["shape"][1:]])
    for value in ([-8, 0], [0], [], None, "0", [0, 1 << 80], [0.0, 8.0], [[0], [8]], {"a": 1}):
        yield f"offsets {value}", lambda h, k, value=value: h[k].update(data_offsets=value)
    for value in ([-1], ["8"], [8.5], [True], None, "8", [10**6, 10**6], [1 << 62] * 99, {}, 8, [[]]):
        yield f"shape {str(value)[:20]}", lambda h, k, value=value: h[k].update(shape=value)
    for value in ("F64", "I32", "F4", "EVIL", "", None, ["F32"], 32, "f32"):
        yield f"dtype {value}", lambda h, k, value=value: h[k].update(dtype=value)
    for value in (None, 7, "x", [], {"dtype": "F32"}):
        yield f"entry {value}", lambda h, k, value=value: h.update({k: value})
    yield "metadata of numbers", lambda h, k: h.update(__metadata__={"a": 1})
    yield "metadata a list", lambda h, k: h.update(__metadata__=[1])
    yield "a name that leads out", lambda h, k: _rename(h, k, "../../evil")
    yield "an escape in a name", lambda h, k: _rename(h, k, "\x1b[31m<script>\n")


def _rename(header: dict, key: str, name: str) -> None:
    entries = [(name if other == key else other, value) for other, value in header.items()]
    header.clear()
    header.update(entries)


def _raw_headers() -> dict[str, bytes]:
    nested = b'{"a":' * 5000 + b"1" + b"}" * 5000
    texts = {
        "a list": b"[1]", "no JSON": b"{", "nothing in it": b"{}", "nested": nested, "lists": b"[" * 90000,
        "not UTF-8": b'{"\xff": 1}', "a long number": b'{"a": ' + b"9" * 6000 + b"}", "null": b"null",
        "a name twice": b'{"a": 1, "a": 2}', "NaN": b"NaN", "spaces": b"{" + b" " * (33 << 20) + b"}",
    }  # fmt: skip
    found = {name: struct.pack("<Q", len(text)) + text for name, text in texts.items()}
    lengths = {"length 0": 0, "length 2^63": 1 << 63, "length 99 MB": 99_000_000, "length 2^64-1": (1 << 64) - 1}
    found |= {name: struct.pack("<Q", length) + b"{}" for name, length in lengths.items()}
    return found | {
        "empty": b"",
        "seven bytes": b"1234567",
        "a pickle": pickle.dumps({"a": 1}),
        "an archive": b"PK\3\4" * 9,
    }


def _indexes() -> dict[str, Any]:
    names = ["../x.safetensors", "/etc/passwd", "..\\x.safetensors", "C:\\x.safetensors", "a\0.safetensors", "", "a", 7,
             ["a"], None, "missing.safetensors", "l.safetensors", "~/x.safetensors", "\ud800.safetensors"]  # fmt: skip
    found = {f"names {name!r}": {"weight_map": {"model.norm.weight": name}} for name in names}
    return found | {"no map": {}, "a list": [], "map a list": {"weight_map": ["a"]}, "empty map": {"weight_map": {}}}


def _fields() -> dict[str, list[Any]]:
    wrong = [10**9, 10**30, -1, 0, 2.5, "6", None, True, [6], {}]
    sizes = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "intermediate_size",
             "num_key_value_heads", "head_dim", "max_position_embeddings", "mask_token_id")  # fmt: skip
    found: dict[str, list[Any]] = {name: wrong for name in sizes}
    found["model_type"] = [
        "evil",
        7,
        None,
        ["llama"],
        {},
        "../../x",
        "llama\n",
        "\ud800",
        "gpt2",
        "bert",
        "mamba",
        "t5",
    ]
    found["architectures"] = ["x", 5, [5], [[]], None, ["EvilForCausalLM"], {"a": 1}]
    found["rms_norm_eps"] = ["x", 0, -1, None, [1], True]
    found["rope_parameters"] = [
        "x",
        [1],
        {"rope_type": "evil"},
        {"rope_theta": "x"},
        {"rope_type": "dynamic", "factor": -1},
    ]
    found["hidden_act"] = ["evil", 5, None, "__import__('os')", ["silu"]]
    found["quantization_config"] = [
        "x",
        3,
        [],
        {"quant_method": "evil"},
        {"quant_method": ["x"]},
        {"quant_method": "fp8"},
    ]
    found["text_config"] = ["x", 3, [1], {"num_hidden_layers": 10**9}, {"hidden_size": "x"}]
    found["dtype"] = ["x", 5, ["x"], {}, "float4", "__class__"]
    found["per_layer_config"] = ["x", [1], {"0": 1}, {"evil": {"intermediate_size": 10**9}}]
    found["auto_map"] = ["evil", [1], {"AutoConfig": 7}, {"AutoModelForCausalLM": "evil--evil.Evil"}]
    return found


def _texts() -> dict[str, bytes]:
    return {
        "empty": b"", "a list": b"[]", "half": b'{"a": ', "nested": b'{"a":' * 9999 + b"1" + b"}" * 9999,
        "lists": b"[" * 99999, "UTF-16": '{"a": 1}'.encode("utf-16"), "bytes": bytes(range(256)),
        "a long number": b'{"vocab_size": ' + b"9" * 6000 + b"}", "a name twice": b'{"a": 1, "a": 2}', "text": b'"x"',
    }  # fmt: skip


def _no_files() -> dict[str, Callable[[str, Path], None]]:
    return {
        "folder": lambda file, model: (model / file).mkdir(),
        "pipe": lambda file, model: os.mkfifo(model / file),
        "link to itself": lambda file, model: (model / file).symlink_to(file),
        "link to a device": lambda file, model: (model / file).symlink_to("/dev/zero"),
    }


def _instead(change: Callable[[str, Path], None], file: str, model: Path) -> None:
    (model / file).unlink(missing_ok=True)
    change(file, model)


def _tokenizer_fields() -> dict[str, list[Any]]:
    return {
        "added_tokens_decoder": [
            [],
            "x",
            {"x": {}},
            {"0": 1},
            {"-1": {"content": "a"}},
            {"9" * 5000: {"content": "a"}},
        ],
        "mask_token": [7, [], {}, {"content": 7}, "absent", "w1"],
        "chat_template": [7, [], [7], [{"name": "default"}], "{% for", {"a": 1}],
        "tokenizer_class": ["Evil", 7, None, "../x", "LlamaTokenizer"],
        "model_max_length": ["x", -1, 1e400, [], None],
        "extra_special_tokens": [7, "x", {"a": 1}, [[]]],
        "eos_token": [7, {}, {"content": None}, ["x"]],
    }


def _tokenizers() -> dict[str, Change]:
    growing = [{"type": "Replace", "pattern": {"String": "w"}, "content": "w" * 50}] * 12
    changes = {
        "a regular expression without end": {"pre_tokenizer": _split("(w+)+$")},
        "a wrong regular expression": {"pre_tokenizer": _split("(")},
        "replacements that grow": {"normalizer": {"type": "Sequence", "normalizers": growing}},
        "padding without end": {"padding": {"strategy": {"Fixed": 10**12}, "direction": "Right", "pad_id": 0,
                                "pad_type_id": 0, "pad_token": "<pad>", "pad_to_multiple_of": None}},
        "no model": {"model": None},
        "an unknown model": {"model": {"type": "Evil"}},
        "a negative id": {"model": {"type": "WordLevel", "vocab": {"a": -1}, "unk_token": "a"}},
        "no unknown word": {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "b"}},
        "ids beyond the vocabulary": {"model": {"type": "WordLevel", "vocab": {"<unk>": 999}, "unk_token": "<unk>"}},
        "added tokens of numbers": {"added_tokens": [7]},
    }  # fmt: skip
    return {name: partial(_json, "tokenizer.json", fields) for name, fields in changes.items()}


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _code() -> dict[str, Change]:
    evil = "evil.Evil"
    fields = {
        "auto_map of the tokenizer": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [evil, evil]}}),
        "tokenizer class and auto_map": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [evil, None]}, "tokenizer_class": "Evil"}),
        "auto_map of the model": ("config.json", {"auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": evil}}),
        "auto_map of an unknown type": ("config.json", {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": evil}}),
        "attention kernels": ("config.json", {"attn_implementation": "evil/kernels", "_attn_implementation": "evil/kernels"}),
        "expert kernels": ("config.json", {"experts_implementation": "evil/kernels", "use_kernels": True}),
        "per-layer code": ("config.json", {"per_layer_config": {"0": {"intermediate_size": 8}}, "auto_map": {"AutoConfig": evil}}),
        "a chat template that reaches out": ("tokenizer_config.json", {"chat_template": "{{ ''.__class__.__mro__[1].__subclasses__() }}"}),
    }  # fmt: skip
    found = {name: partial(_evil, file, content) for name, (file, content) in fields.items()}
    return found | {
        "only pickled weights": _pickled,
        "custom generate": partial(_evil, "config.json", {"custom_generate": "."}),
    }


def _evil(file: str, fields: dict[str, Any], model: Path) -> None:
    _json(file, fields, model)
    code = f"import pathlib\npathlib.Path('{model.parent / RAN}').touch()\nclass Evil: pass\nclass C: pass\n"
    (model / "custom_generate").mkdir()
    for path in (model / "evil.py", model / "modeling_per_layer.py", model / "custom_generate" / "generate.py"):
        path.write_text(code)


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def _pickled(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(_Touch(str(model.parent / RAN))))


def _weights() -> dict[str, Change]:
    def changed(fill: Callable[[Any], None], model: Path) -> None:
        from safetensors.numpy import load_file, save_file

        tensors = load_file(model / "model.safetensors")
        fill(tensors)
        save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})

    def one(value: float, tensors: dict) -> None:
        next(array for name, array in tensors.items() if "q_proj" in name)[0, 0] = value

    def integers(tensors: dict) -> None:
        tensors.update({name: array.astype("int8") for name, array in tensors.items()})

    def missing(part: str, tensors: dict) -> None:
        del tensors[next(name for name in tensors if part in name)]

    parts = ("embed_tokens", "lm_head", "model.norm", "layers.1.mlp.up_proj", "layers.0.input_layernorm")
    found = {f"{value}": partial(changed, partial(one, value)) for value in (float("nan"), float("inf"), float("-inf"))}
    found |= {f"without {part}": partial(changed, partial(missing, part)) for part in parts}
    return found | {"of whole numbers": partial(changed, integers), "cut short": _cut}


def _cut(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _header(change: Callable[[dict, str], Any], model: Path) -> None:
    path = model / "model.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    change(header, next(name for name in header if name != "__metadata__"))
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + content[8 + length :])


def _raw_header(raw: bytes, model: Path) -> None:
    (model / "model.safetensors").write_bytes(raw)


def _index(index: Any, model: Path) -> None:
    (model / "model.safetensors").rename(model / "a.safetensors")
    (model / "l.safetensors").symlink_to("/etc/passwd")
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def _json(file: str, fields: dict[str, Any], model: Path) -> None:
    path = model / file
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **fields}))


def _text(file: str, text: bytes, model: Path) -> None:
    (model / file).write_bytes(text)
