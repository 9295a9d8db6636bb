"""Classification heads of checkpoints of Hugging Face transformers, recorded from the library itself."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastnn

FOLDER = Path(__file__).parents[1] / "reference" / "files_transformers"
LABELS = ("bad", "so so", "good")
NAMES = ("bert", "bert_pooler", "roberta", "electra", "distilbert", "gpt2")


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_head_gives_the_recorded_logits(name):
    with np.load(FOLDER / "answers.npz") as answers:
        x, y = answers[f"{name}/x"], answers[f"{name}/y"]
    model, labels = fastnn.load_transformers_head(FOLDER / name, pooler=name == "bert_pooler")
    np.testing.assert_allclose(model.predict(x), y, rtol=1e-5, atol=1e-5)
    assert labels == (None if name == "gpt2" else LABELS)
    assert [layer.name for layer in model.layers[1:]] == {
        "bert": ["classifier"],
        "bert_pooler": ["bert_pooler_dense", "classifier"],
        "distilbert": ["pre_classifier", "classifier"],
        "gpt2": ["score"],
    }.get(name, ["classifier_dense", "classifier_out_proj"])


def test_probabilities_of_a_file_of_its_own():
    model, labels = fastnn.load_transformers_head(FOLDER / "bert" / "model.safetensors", output_activation="softmax")
    assert labels == LABELS  # of the configuration beside it
    np.testing.assert_allclose(model.predict(np.ones((2, 8))).sum(axis=1), 1, rtol=1e-6)


def checkpoint(config=None, files=None, index=None, **shapes):
    """A folder with tensors of these shapes; several files where `files` says which of them has which."""
    folder = Path(tempfile.mkdtemp())
    random = np.random.default_rng(0)
    arrays = {name.replace("__", "."): random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    if files is None:
        save_file(arrays, folder / "model.safetensors")
    else:
        for file in set(files.values()):
            save_file({name: array for name, array in arrays.items() if files[name] == file}, folder / file)
    if index is not None:
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def test_a_checkpoint_of_several_files():
    files = {
        "encoder.weight": "a.safetensors",
        "classifier.weight": "b.safetensors",
        "classifier.bias": "a.safetensors",
    }
    shapes = {"encoder__weight": (2, 2), "classifier__weight": (3, 4), "classifier__bias": (3,)}
    folder = checkpoint(files=files, index={"weight_map": files}, **shapes)
    model, labels = fastnn.load_transformers_head(folder)
    assert (model.input_shape, model.output_shape, labels) == ((None, 4), (None, 3), None)


TWO = {"classifier__dense__weight": (4, 4), "classifier__dense__bias": (4,), "classifier__out_proj__weight": (2, 4)}


def test_the_activation_is_that_of_the_kind_of_model_or_given():
    roberta = fastnn.load_transformers_head(checkpoint({"model_type": "roberta"}, **TWO))[0]
    electra = fastnn.load_transformers_head(checkpoint({"model_type": "electra"}, **TWO))[0]
    given = fastnn.load_transformers_head(checkpoint({"model_type": "electra"}, **TWO), activation="relu")[0]
    assert [model.layers[1].activation.name for model in (roberta, electra, given)] == ["tanh", "gelu", "relu"]
    for config, said in ((None, "has no config.json"), ({"model_type": "new"}, "is of the model_type 'new'")):
        with pytest.raises(ValueError, match=f"{said}.*give activation="):
            fastnn.load_transformers_head(checkpoint(config, **TWO))


@pytest.mark.parametrize(
    ("config", "module", "activation"),
    [
        ({"model_type": "bert"}, "bert__pooler__dense", "tanh"),
        ({"model_type": "albert"}, "albert__pooler", "tanh"),
        ({"model_type": "deberta-v2"}, "pooler__dense", "gelu"),
        ({"model_type": "deberta", "pooler_hidden_act": "relu"}, "pooler__dense", "relu"),
        (None, "pooler__dense", "tanh"),
    ],
)
def test_the_pooler_is_that_of_the_kind_of_model(config, module, activation):
    shapes = {f"{module}__weight": (4, 4), f"{module}__bias": (4,), "classifier__weight": (2, 4)}
    model, _ = fastnn.load_transformers_head(checkpoint(config, **shapes), pooler=True)
    assert [layer.name for layer in model.layers[1:]] == [module.replace("__", "_"), "classifier"]
    assert model.layers[1].activation.name == activation


def test_an_activation_of_a_pooler_that_is_not_known_is_said():
    shapes = {"pooler__dense__weight": (4, 4), "classifier__weight": (2, 4)}
    for name in ("gelu_10", None, ["tanh"]):
        with pytest.raises(ValueError, match=r"pooler_hidden_act .* none of tanh, gelu, relu, silu: "):
            fastnn.load_transformers_head(checkpoint({"pooler_hidden_act": name}, **shapes), pooler=True)


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        ({"encoder__weight": (2, 2)}, {}, "has no classification head that is known"),
        ({"classifier__weight": (2, 2, 2)}, {}, "no linear layer's"),
        ({"classifier__weight": (2, 3), "classifier__bias": (3,)}, {}, "no linear layer's"),
        ({"pre_classifier__weight": (4, 3), "classifier__weight": (2, 5)}, {}, "of 4 outputs before 'classifier' of 5"),
        ({"classifier__weight": (2, 3), "config": {"id2label": {"0": "a"}}}, {}, "id2label for the 2 outputs"),
        ({"classifier__weight": (2, 3), "config": {"id2label": [1, 2]}}, {}, "id2label for the 2 outputs"),
        ({"classifier__weight": (2, 3), "config": "[]"}, {}, "must hold a dict"),
        ({"classifier__weight": (2, 3), "config": "{"}, {}, "not valid JSON"),
        ({"classifier__weight": (2, 3), "config": "[" * 10**5}, {}, "nested"),
        ({"classifier__weight": (2, 3)}, {"pooler": True}, "must have one pooler for pooler=True, and has none"),
        ({"classifier__weight": (2, 3)}, {"activation": "tanh"}, "the head .* is one: classifier"),
        ({"files": {}, "index": {"weight_map": {"classifier.weight": "../x"}}}, {}, "none of its folder"),
        ({"files": {}, "index": {"weight_map": {"classifier.weight": ".."}}}, {}, "none of its folder"),
        ({"files": {}, "index": {"weight_map": {"classifier.weight": 3}}}, {}, "none of its folder"),
        ({"files": {}, "index": {"weight_map": []}}, {}, "must hold a dict 'weight_map'"),
        (
            {
                "encoder__weight": (2, 2),
                "files": {"encoder.weight": "a.safetensors"},
                "index": {"weight_map": {"classifier.weight": "a.safetensors"}},
            },
            {},
            "lies in none of its files",
        ),
    ],
)
def test_what_is_no_head_is_said(made, options, message):
    with pytest.raises(ValueError, match=message):  # ModelFileErrors are such
        fastnn.load_transformers_head(checkpoint(**made), **options)


def test_a_large_configuration_is_not_read():
    folder = checkpoint(" " * (2**23 + 1), classifier__weight=(2, 3))
    with pytest.raises(fastnn.ModelFileError, match=r"config\.json has 8388609 bytes"):
        fastnn.load_transformers_head(folder)
