"""Load an exported folder without this package and print, as JSON, how far its logits are from the expected ones.

Run by `sap_core.export.verify` in a new interpreter, by path: with loader "transformers" nothing of this package is
imported, which shows that the folder needs no more than stock transformers.
"""

import json
import os
import sys


def main(folder: str, loader: str, trust: bool = False) -> dict:
    """Return {"max_difference", "largest_logit", "tokens_checked", "tokenizer", "class", "versions"}."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers
    from safetensors.torch import load_file

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    expected = load_file(os.path.join(folder, "sap_verify.safetensors"))
    tokenizer = None
    if loader == "original":
        from sap_core.models.remote import original_logits

        logits, name = original_logits(folder, expected["tokens"])
    elif loader == "transformers":
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            named = (json.load(file).get("architectures") or [""])[0]
        auto = transformers.AutoModelForCausalLM
        if named.endswith("ForMaskedLM"):
            auto = transformers.AutoModelForMaskedLM
        elif named.endswith("ForBlockDiffusion"):  # no Auto class has it
            auto = getattr(transformers, named)
        model = auto.from_pretrained(folder, dtype="auto", local_files_only=True, trust_remote_code=trust).eval()
        if any(name.startswith("tokenizer") for name in os.listdir(folder)):
            tokenizer = tokenizer_class(folder).from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        name = type(model).__name__
        tokens = expected["tokens"]
        with torch.no_grad():
            if named.endswith("ForBlockDiffusion"):
                # The first token is what its encoder reads, the others are the canvas; nothing predicts the first.
                where = torch.arange(1, tokens.shape[1])[None]
                canvas = {"decoder_input_ids": tokens[:, 1:], "decoder_position_ids": where}
                logits = model(input_ids=tokens[:, :1], **canvas).logits
                logits = torch.cat([torch.zeros_like(logits[:, :1]), logits], 1)
            else:
                logits = model(input_ids=tokens).logits
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
    """Return the class that reads the folder's tokenizer: never one that the folder itself contains (auto_map)."""
    import transformers

    path = os.path.join(folder, "tokenizer_config.json")
    if os.path.isfile(path) and os.path.isfile(os.path.join(folder, "tokenizer.json")):
        with open(path, encoding="utf-8") as file:
            if json.load(file).get("auto_map"):
                return transformers.PreTrainedTokenizerFast
    return transformers.AutoTokenizer


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], "trust" in sys.argv[3:])))
