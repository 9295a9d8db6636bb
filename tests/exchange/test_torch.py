"""PyTorch's files and names, without PyTorch; tests/exchange_live has what needs it."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastnn
from fastnn import layers

FOLDER = Path(__file__).parents[1] / "reference" / "files_torch"


@pytest.mark.parametrize("value", [None, 3, "net.pt", np.zeros(3), fastnn.Sequential()])
def test_other_objects_than_modules_are_refused(value):
    with pytest.raises(TypeError, match=r"module must be a torch\.nn\.Module"):
        fastnn.from_torch(value)


def test_torch_is_not_imported_for_other_objects():
    script = "import sys, fastnn\ntry: fastnn.from_torch(3)\nexcept TypeError: pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


# ---- files that PyTorch has written ----


def residual_block():
    return layers.Residual([layers.LayerNormalization(epsilon=1e-5), layers.Dense(9, "relu"), layers.Dense(6)])


def normalized():
    return fastnn.Sequential(
        [
            fastnn.Input((4,)), layers.Dense(6), layers.BatchNormalization(epsilon=1e-5), layers.ReLU(),
            layers.LayerNormalization(epsilon=1e-5), layers.RMSNormalization(), layers.PReLU(), layers.Dense(1),
        ]
    )  # fmt: skip


LOADED = {
    "chain": lambda path: fastnn.load_torch(path, activation="gelu"),
    "chain_float64": lambda path: fastnn.load_torch(path, activation="gelu"),
    "chain_bfloat16": lambda path: fastnn.load_torch(path, activation="gelu"),
    "chain_float16": lambda path: fastnn.load_torch(path, activation="gelu"),
    "deep": lambda path: fastnn.load_torch(path, activation="tanh", output_activation="tanh"),
    "named": lambda path: fastnn.load_torch(path, activation="silu"),
    "normalized": lambda path: fastnn.load_torch(path, normalized()),
    "residual": lambda path: fastnn.load_torch(
        path,
        fastnn.Sequential([fastnn.Input((4,)), layers.Dense(6), residual_block(), residual_block(), layers.Dense(2)]),
    ),
    "embedding": lambda path: fastnn.load_torch(
        path, fastnn.Sequential([fastnn.Input((2,)), layers.Embedding(9, 3), layers.Dense(2)])
    ),
}


@pytest.mark.parametrize("name", LOADED)
def test_a_recorded_file_gives_the_recorded_answers(name):
    with np.load(FOLDER / "answers.npz") as answers:
        x, y = answers[f"{name}/x"], answers[f"{name}/y"]
    model = LOADED[name](FOLDER / f"{name}.safetensors")
    assert model.dtype == ("float64" if name == "chain_float64" else "float32")
    tolerance = 1e-12 if model.dtype == "float64" else 1e-5
    np.testing.assert_allclose(model.predict(x), y, rtol=tolerance, atol=tolerance)


def test_load_model_knows_whose_file_it_is():
    path = Path(tempfile.mkdtemp()) / "net"
    save_file({"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(2, np.float32)}, path)
    assert fastnn.load_model(path).predict([[1.0, 2.0, 3.0]]).tolist() == [[8.0, 26.0]]
    with pytest.raises(ValueError, match=r"3 linear layers, and does not say.*load_torch\(path, activation=\.\.\.\)"):
        fastnn.load_model(FOLDER / "chain.safetensors")


@pytest.mark.parametrize("name", ["chain.pt", "chain_1.5.pth"])
def test_files_of_torch_save_say_what_they_need(name):
    try:
        model = fastnn.load_torch(FOLDER / name, activation="gelu")
    except ImportError as error:
        assert str(error).endswith("or save the weights there with safetensors.torch.save_file")  # noqa: PT017
    else:  # PyTorch is there
        with np.load(FOLDER / "answers.npz") as answers:
            np.testing.assert_allclose(model.predict(answers["chain/x"]), answers["chain/y"], rtol=1e-5, atol=1e-5)


# ---- which tensors belong to which layer ----


def saved(**shapes):
    """The path of a file with tensors of these shapes, whose numbers are all different."""
    path, start = Path(tempfile.mkdtemp()) / "net.safetensors", 0
    arrays = {}
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        arrays[name.replace("__", ".")] = np.arange(start, start + count, dtype=np.float32).reshape(shape)
        start += count
    save_file(arrays, path)
    return path


def network(*units, names=()):
    names = [*names, *[None] * (len(units) - 1 - len(names))]
    dense = [layers.Dense(count, name=name) for count, name in zip(units[1:], names, strict=True)]
    return fastnn.Sequential([fastnn.Input((units[0],)), *dense])


def test_layers_are_found_by_their_names_first():
    path = saved(b__weight=(4, 4), b__bias=(4,), encoder__a__weight=(4, 4), encoder__a__bias=(4,))
    model = fastnn.load_torch(path, network(4, 4, 4, names=["encoder_a", "b"]))
    arrays = load_file(path)
    np.testing.assert_array_equal(model.get_layer("b").kernel, arrays["b.weight"].T)
    np.testing.assert_array_equal(model.get_layer("encoder_a").kernel, arrays["encoder.a.weight"].T)


def test_the_order_of_numbers_is_that_of_the_modules():
    shapes = {
        f"net__{k}__{part}": (4, 4) if part == "weight" else (4,) for k in range(12) for part in ("weight", "bias")
    }
    path = saved(**shapes)
    model, derived = fastnn.load_torch(path, network(*[4] * 13)), fastnn.load_torch(path, activation="relu")
    for k in range(12):
        for found in (model.layers[k + 1], derived.layers[k + 1]):
            np.testing.assert_array_equal(found.kernel, load_file(path)[f"net.{k}.weight"].T)


def test_an_order_that_only_the_shapes_tell():
    path = saved(input__weight=(5, 3), hidden__weight=(4, 5), output__weight=(1, 4))
    model = fastnn.load_torch(path, activation="relu")
    assert [layer.units for layer in model.layers[1:]] == [5, 4, 1]
    np.testing.assert_array_equal(model.layers[1].kernel, load_file(path)["input.weight"].T)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ({"a__weight": (4, 4), "b__weight": (4, 4)}, {"activation": "relu"}, "in more than one order"),
        ({"a__weight": (4, 4), "b__weight": (4, 5)}, {}, "2 linear layers, and does not say"),
        ({"a__weight": (4, 3), "b__weight": (5, 6)}, {"activation": "relu"}, "do not follow each other"),
        ({"0__weight": (4, 3), "1__weight": (5, 6)}, {"activation": "relu"}, "do not follow each other"),
        ({"a__weight": (4, 3), "a__bias": (3,)}, {}, "no linear layer: give model="),
        ({"a__weight": (4, 3, 2)}, {}, "no linear layer"),
        ({"a__weight_g": (4, 1), "a__weight_v": (4, 3)}, {}, "no linear layer"),
        ({"a__num_batches_tracked": ()}, {}, "holds no tensors"),
        ({"a__weight": (4, 4), "b__weight": (4, 4)}, {"model": (4, 4, 4)}, "has no module for layer 'dense'"),
        (
            {"a__weight": (4, 4), "a__bias": (4,), "b__weight": (4, 4), "b__bias": (4,)},
            {"model": (4, 4, 4)},
            "does not say which comes first of a, b",
        ),
        (
            {"a__weight": (4, 4), "a__bias": (4,), "b__weight": (4, 4), "b__bias": (4,)},
            {"model": (4, 4)},
            "modules that no layer of the model takes",
        ),
        (
            {"a__weight": (4, 3), "a__bias": (4,)},
            {"model": (4, 4)},
            "has no module for layer 'dense', which needs weight",
        ),
        ({"a__weight": (4, 4), "a__bias": (4,)}, {"model": (4, 4), "activation": "relu"}, "not both"),
    ],
)
def test_what_does_not_belong_together_is_said_and_changes_nothing(shapes, options, message):
    path = saved(**shapes)
    model = network(*options["model"]) if "model" in options else None
    before = model and model.get_weights()
    with pytest.raises(ValueError, match=message):
        fastnn.load_torch(path, **options | ({"model": model} if model else {}))
    if model:
        assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_scale_that_the_layer_has_not_must_be_ones():
    shapes = {"0__weight": (3,), "0__bias": (3,), "0__running_mean": (3,), "0__running_var": (3,)}
    model = fastnn.Sequential([fastnn.Input((3,)), layers.BatchNormalization(center=False, scale=False)])
    with pytest.raises(ValueError, match=r"has 0\.(weight|bias), which layer 'batch_normalization' has not"):
        fastnn.load_torch(saved(**shapes), model)


def test_a_model_that_is_not_built_or_none():
    path = saved(a__weight=(4, 4), a__bias=(4,))
    with pytest.raises(ValueError, match="load_torch needs a built model"):
        fastnn.load_torch(path, fastnn.Sequential([layers.Dense(4)]))
    with pytest.raises(TypeError, match="model must be a Sequential, got int"):
        fastnn.load_torch(path, 3)
    with pytest.raises(FileNotFoundError):
        fastnn.load_torch(path.parent / "no.safetensors")


# ---- out ----


def test_a_file_that_goes_out_and_comes_in():
    stack = [
        fastnn.Input((4,)), layers.Dense(6), layers.BatchNormalization(), layers.ReLU(), residual_block(),
        residual_block(), layers.Scale(),
        layers.Heads({"a": [layers.Dense(2)], "b": [layers.Dense(2), layers.Dense(2)]}),
    ]  # fmt: skip
    model = fastnn.Sequential(stack)
    path = Path(tempfile.mkdtemp()) / "net.safetensors"
    text = model.export_torch(path)
    assert "class Residual(nn.Sequential)" in text
    assert "nn.BatchNorm1d(6, eps=0.001, momentum=0.01)" in text
    assert {"0.weight", "1.running_var", "3.1.weight", "5.scale", "6.heads.1.0.bias"} <= load_file(path).keys()
    again = fastnn.clone_model(model)
    fastnn.load_torch(path, again)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    compile(text, "net.py", "exec")


def test_the_text_of_every_class_is_python():
    from fastnn.exchange._torch_classes import CLASSES, NEEDS

    for name, text in CLASSES.items():
        compile(text, name, "exec")
        assert text.startswith(f"class {name}(")
        assert max(map(len, text.splitlines())) <= 120
    assert NEEDS.keys() | set(NEEDS.values()) <= CLASSES.keys()


def test_what_pytorch_has_not_is_named_and_no_file_is_written():
    folder = Path(tempfile.mkdtemp())
    model = fastnn.Sequential(
        [fastnn.Input((1,)), layers.StringLookup(vocabulary=["a"]), layers.Embedding(2, 2), layers.Dense(1)]
    )
    with pytest.raises(ValueError, match="reads raw data"):
        model.export_torch(folder / "net.safetensors")
    own = type("Own", (layers.Dense,), {})
    with pytest.raises(ValueError, match="layer 'own' is of class Own, which no module"):
        fastnn.Sequential([fastnn.Input((4,)), own(3)]).export_torch(folder / "net.safetensors")
    with pytest.raises(ValueError, match="export_torch needs a built model"):
        fastnn.Sequential([layers.Dense(1)]).export_torch(folder / "net.safetensors")
    assert not list(folder.iterdir())
