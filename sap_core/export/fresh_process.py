"""Loads an exported folder as a stranger would and prints, as JSON, how far its logits are from the expected ones.

Run by `sap_core.export.verify` in a new interpreter, by path: with loader "transformers" nothing of this package is
imported, so the folder is shown to need no more than stock transformers.
"""

import json
import os
import sys


def main(folder: str, loader: str, trust: bool = False) -> dict:
    """{"max_difference", "largest_logit", "tokens_checked", "tokenizer", "class", "versions"}."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers
    from safetensors.torch import load_file

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    expected = load_file(os.path.join(folder, "sap_verify.safetensors"))
    tokenizer = None
    if loader == "transformers":
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            masked = (json.load(file).get("architectures") or [""])[0].endswith("ForMaskedLM")
        auto = transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM
        model = auto.from_pretrained(folder, dtype="auto", local_files_only=True, trust_remote_code=trust).eval()
        if any(name.startswith("tokenizer") for name in os.listdir(folder)):
            tokenizer = tokenizer_class(folder).from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        name = type(model).__name__
        with torch.no_grad():
            logits = model(input_ids=expected["tokens"]).logits
    else:
        from sap_core.models.loading import load_model

        loaded = load_model(folder, device="cpu", trust_remote_code=False)
        tokenizer, name = loaded.tokenizer, type(loaded.module).__name__
        with torch.no_grad():
            logits = loaded.forward(expected["tokens"], None)
    logits = logits.float()[:, : expected["logits"].shape[1]]
    return {
        "max_difference": float((logits - expected["logits"]).abs().max()),
        "largest_logit": float(expected["logits"].abs().max()),
        "tokens_checked": int(expected["logits"].shape[1]),
        "tokenizer": type(tokenizer).__name__ if tokenizer is not None else None,
        "class": name,
        "own_package_imported": "sap_core" in sys.modules,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def tokenizer_class(folder: str) -> type:
    """Return the class that reads the folder's tokenizer: never one that the folder brings itself (auto_map)."""
    import transformers

    path = os.path.join(folder, "tokenizer_config.json")
    if os.path.isfile(path) and os.path.isfile(os.path.join(folder, "tokenizer.json")):
        with open(path, encoding="utf-8") as file:
            if json.load(file).get("auto_map"):
                return transformers.PreTrainedTokenizerFast
    return transformers.AutoTokenizer


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], "trust" in sys.argv[3:])))
