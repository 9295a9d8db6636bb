"""Records tiny classifiers of Hugging Face transformers, and what their heads answer.

tests/exchange/test_transformers.py reads both. Needs torch and transformers, and is run from this folder: ``python
record_transformers.py``. Nothing is downloaded: the weights are random numbers. The encoders are left out of the
recorded files, but for BERT's pooler.
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).parent / "files_transformers"
SMALL = {"vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
LABELS = {"num_labels": 3, "id2label": {0: "bad", 1: "so so", 2: "good"}, "label2id": {"bad": 0, "so so": 1, "good": 2}}
# the class, its configuration, and the module whose input is a row of the head's
KINDS = {
    "bert": ("Bert", SMALL | LABELS, "classifier"),
    "bert_pooler": ("Bert", SMALL | LABELS, "bert.pooler.dense"),
    "roberta": ("Roberta", SMALL | LABELS | {"pad_token_id": 0}, "classifier.dense"),
    "electra": ("Electra", SMALL | LABELS | {"embedding_size": 8}, "classifier.dense"),
    "distilbert": (
        "DistilBert",
        {"vocab_size": 12, "dim": 8, "hidden_dim": 8, "n_layers": 1, "n_heads": 2} | LABELS,
        "pre_classifier",
    ),
    "gpt2": (
        "GPT2",
        {"vocab_size": 12, "n_embd": 8, "n_layer": 1, "n_head": 2, "pad_token_id": 0, "num_labels": 2},
        "score",
    ),
}
HEADS = ("classifier", "pre_classifier", "score", "bert.pooler")


def main():
    torch.manual_seed(0)
    answers = {"transformers": np.array(transformers.__version__)}
    for name, (kind, settings, reads) in KINDS.items():
        config = getattr(transformers, f"{kind}Config")(**settings)
        model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape) * 0.5)
        seen = {}
        model.eval().get_submodule(reads).register_forward_pre_hook(lambda _, given, seen=seen: seen.update(x=given[0]))
        with torch.no_grad():
            logits = model(torch.randint(1, 12, (6, 5))).logits
        # a head that reads all tokens is given the first; GPT-2's counts for the last
        x = seen["x"] if seen["x"].ndim == 2 else seen["x"][:, -1 if name == "gpt2" else 0]
        answers |= {f"{name}/x": x.numpy(), f"{name}/y": logits.numpy()}
        folder = FOLDER / name
        model.save_pretrained(folder)
        kept = {key: value for key, value in load_file(folder / "model.safetensors").items() if key.startswith(HEADS)}
        save_file(kept, folder / "model.safetensors", {"format": "pt"})
        for other in folder.iterdir():
            if other.name not in ("model.safetensors", "config.json"):
                other.unlink()
        config = json.loads((folder / "config.json").read_text())
        wanted = ("architectures", "id2label", "label2id", "model_type", "transformers_version")
        text = json.dumps({key: config[key] for key in wanted if key in config}, indent=2)
        (folder / "config.json").write_text(f"{text}\n")
    np.savez_compressed(FOLDER / "answers.npz", **answers)


if __name__ == "__main__":
    main()
