"""Config and code of checkpoints whose layers differ in width. No torch here."""

from __future__ import annotations

from pathlib import Path

from ..errors import ModelProblem
from ..untrusted import MIB, is_file, read_text
from .family import Config

# Native classes in which each layer computes with the sizes of its own matrices, and their names in transformers.
KINDS = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
CODE = "modeling_per_layer.py"
SIZES = ("num_attention_heads", "num_key_value_heads", "intermediate_size")


def kind_of(config: Config, ref: str) -> str:
    """Return the prefix of the transformers class that a ``per_layer_config`` is read with, such as "Llama".

    Raises:
        ModelProblem: a model type whose layers can't differ.
    """
    model_type = str(config.get("model_type"))
    if model_type not in KINDS:
        raise ModelProblem(
            f"{ref}: layers of different widths are supported for the types {', '.join(KINDS)}, not {model_type}."
        )
    return KINDS[model_type]


def config_entries(config: Config, ref: str) -> Config:
    """Return the entries of config.json by which transformers finds the code beside it."""
    kind, module = kind_of(config, ref), CODE.removesuffix(".py")
    names = {"AutoConfig": f"PerLayer{kind}Config", "AutoModelForCausalLM": f"PerLayer{kind}ForCausalLM"}
    return {
        "auto_map": {auto: f"{module}.{name}" for auto, name in names.items()},
        "architectures": [names["AutoModelForCausalLM"]],
    }


def code_of(config: Config, ref: str) -> str:
    """Return the text of the modelling file that is written to the folder."""
    kind = kind_of(config, ref)
    source = Path(__file__).with_name("modeling_per_layer.py").read_text(encoding="utf-8")
    return f'{source}\n\nPerLayer{kind}Config, PerLayer{kind}ForCausalLM = per_layer("{kind}")\n'


def brings_own_code(folder: Path, config: Config) -> bool:
    """Return whether the only code of a folder is the modelling file written here, byte for byte: running it is safe.

    config.json must name its classes and no others, and no other Python file may be there that another file could name.
    """
    path = folder / CODE
    if not config.get("per_layer_config") or not is_file(path):
        return False
    if config.get("auto_map") != config_entries(config, str(folder))["auto_map"]:
        return False
    if sorted(other.name for other in folder.rglob("*.py")) != [CODE]:
        return False
    return read_text(path, CODE, limit=MIB, problem=ModelProblem) == code_of(config, str(folder))
