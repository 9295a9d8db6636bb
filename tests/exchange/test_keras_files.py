"""Files that Keras 2.15, 3.0 and 3.15 wrote: the same answers, and training that goes on as it did there."""

import functools
import io
import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest

import fastnn

REFERENCE = Path(__file__).parent.parent / "reference"
VERSIONS = ("2_15", "3_0", "3_15")
GRAPHS = ("residual", "two_inputs", "wide_and_deep", "two_heads", "words")
# float32 in another order of summation; training repeats it in some dozen steps
ANSWERS, TRAINED = 1e-5, 5e-6
# Keras 2.15 compiles a step in which it multiplies Nadam's momenta once for each weight, and not once
DIFFERENT = {("2_15", "nadam"): 1e-4}


@functools.cache
def recorded(version):
    """Return the recorded files of a version of Keras by their names."""
    with tarfile.open(REFERENCE / f"files_keras{version}.tar.xz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive.getmembers()}


def cases(*suffixes):
    """Return version, name of the case and suffix of each recorded file with one of these suffixes."""
    found = []
    for version in VERSIONS:
        names = recorded(version)
        for name in [name.removesuffix(".npz") for name in names if name.endswith(".npz")]:
            found += [(version, name, suffix) for suffix in suffixes if name + suffix in names]
    return found


def arrays(version, name):
    """Return the arrays of a case: a dict of x, y, out and the weights after more training, by layer."""
    held = np.load(io.BytesIO(recorded(version)[f"{name}.npz"]))
    found, after = {}, {}
    for key in held.files:
        what, _, rest = key.partition(":")
        if what == "after":
            layer, _, k = rest.rpartition(":")
            after.setdefault(layer, {})[int(k)] = held[key]
        elif rest:
            found.setdefault(what, {})[rest] = held[key]
        else:
            found[what] = held[key]
    return found, after


def opened(read, version, file):
    """Return what `read` makes of the path of a recorded file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"  # the content says what it is, not the name
        path.write_bytes(recorded(version)[file])
        return read(path)


def leaves(layers):
    """Yield the layers that hold no others."""
    for layer in layers:
        yield from leaves(layer.layers) if hasattr(layer, "layers") else [layer]


def check_answers(model, found):
    outputs, wanted = model.predict(found["x"]), found["out"]
    if not isinstance(outputs, dict):
        outputs, wanted = {"": outputs}, {"": wanted if isinstance(wanted, np.ndarray) else next(iter(wanted.values()))}
    assert set(outputs) == set(wanted)
    for key, array in wanted.items():
        np.testing.assert_allclose(outputs[key], array, atol=ANSWERS)


@pytest.mark.parametrize(("version", "name", "suffix"), cases(".keras", ".h5"))
def test_a_file_of_keras_gives_the_answers_that_keras_gave(version, name, suffix):
    if name == "words" and suffix == ".h5":
        with pytest.raises(fastnn.ModelFileError, match="'string_lookup' is a StringLookup whose vocabulary the file"):
            opened(fastnn.load_keras, version, name + suffix)
        return
    model = opened(lambda path: fastnn.load_keras(path, compile=False), version, name + suffix)
    assert model.built
    assert model.optimizer is None
    check_answers(model, arrays(version, name)[0])


@pytest.mark.parametrize(
    ("version", "name", "suffix"),
    [case for case in cases(".keras", ".h5") if arrays(*case[:2])[1] and case[1] != "ftrl"],
)
def test_training_goes_on_as_it_did_in_keras(version, name, suffix):
    model = opened(fastnn.load_model, version, name + suffix)
    found, after = arrays(version, name)
    if name.startswith("legacy") and suffix == ".keras":  # Keras writes no state of these
        assert model.optimizer.iterations == 0
        return
    assert model.optimizer.iterations == (3 if name == "accumulation" else 9)
    model.fit(found["x"], found["y"], batch_size=8, epochs=3, shuffle=False, verbose=0)
    trained = {layer.name: layer.get_weights() for layer in leaves(model.layers)}
    for layer, wanted in after.items():
        for k, array in wanted.items():
            atol = DIFFERENT.get((version, name), TRAINED)
            np.testing.assert_allclose(trained[layer][k], array, atol=atol, err_msg=f"{layer} {k}")


@pytest.mark.parametrize(("version", "name", "suffix"), cases(".weights.h5", "_weights.h5", ".h5"))
def test_weights_alone_are_taken_in_order_or_by_name(version, name, suffix):
    if name == "words" and suffix == ".h5":
        return  # its vocabulary is not there
    whole = f"{name}.keras" if f"{name}.keras" in recorded(version) else f"{name}.h5"
    model = opened(lambda path: fastnn.load_keras(path, compile=False), version, whole)
    other = fastnn.clone_model(model)
    for view in other.weights:
        view[...] = 0
    nameless = name in GRAPHS and suffix == ".weights.h5" and version != "3_15"
    if nameless:
        with pytest.raises(fastnn.ModelFileError, match="does not name its layers, as a model with branches"):
            opened(other.load_weights, version, name + suffix)
        return
    opened(other.load_weights, version, name + suffix)
    for layer, same in zip(leaves(model.layers), leaves(other.layers), strict=True):
        if not getattr(layer, "_given", False):  # what a Normalization was told is no weight in Keras
            for one, two in zip(layer.get_weights(), same.get_weights(), strict=True):
                np.testing.assert_array_equal(one, two)


def test_the_version_of_each_recording_is_written_down():
    for version in VERSIONS:
        assert json.loads(recorded(version)["versions.json"])["keras"].startswith(version.replace("_", "."))


def test_what_a_graph_became():
    residual = opened(fastnn.load_keras, "3_15", "residual.keras")
    kinds = [type(layer).__name__ for layer in residual.layers]
    assert kinds == ["InputLayer", "Dense", "Residual", "Residual", "Dense"]
    assert [type(layer).__name__ for layer in residual.layers[2].layers][-2:] == ["Residual", "Dense"]
    inputs = opened(fastnn.load_keras, "2_15", "two_inputs.h5")
    assert list(inputs.layers[0].columns) == ["numbers", "kinds"]
    wide = opened(fastnn.load_keras, "3_15", "wide_and_deep.keras")
    assert wide.layers[0].columns == {"a": ["a"], "a_1": ["a"], "b": ["b"]}
    heads = opened(fastnn.load_keras, "3_15", "two_heads.keras")
    assert heads.output_shape == {"kind": (None, 3), "number": (None, 1)}


def test_what_a_model_was_compiled_with():
    heads = opened(fastnn.load_keras, "3_15", "two_heads.keras")
    assert heads.metrics_names == [
        "loss", "kind_loss", "number_loss", "kind_accuracy", "number_mae", "number_root_mean_squared_error",
    ]  # fmt: skip
    assert heads.optimizer.get_config()["momentum"] == 0.5
    assert heads.get_compile_config()["loss_weights"] == {"kind": 0.5, "number": 2.0}
    huber = opened(fastnn.load_keras, "2_15", "two_inputs.h5")
    assert huber.loss.get_config()["delta"] == pytest.approx(0.7)
    legacy = opened(fastnn.load_keras, "2_15", "legacy_adam.h5")
    # Keras before 2.11: rate / (1 + decay * steps)
    assert legacy.optimizer.learning_rate == pytest.approx(0.01 / (1 + 0.05 * 9))
    cosine = opened(fastnn.load_keras, "3_15", "cosine.keras")
    assert cosine.optimizer.get_config()["learning_rate"]["class_name"] == "CosineDecay"


def test_an_optimizer_that_is_not_here_is_named_and_the_network_is_read_without():
    for version in ("2_15", "3_15"):
        with pytest.raises(
            fastnn.ModelFileError, match=r"its optimizer is Ftrl, which fastnn has not; load_keras\(path"
        ):
            opened(fastnn.load_keras, version, "ftrl.keras")
        assert opened(lambda path: fastnn.load_model(path, compile=False), version, "ftrl.keras").built


def test_weights_that_do_not_fit_leave_the_model_as_it_was():
    model = fastnn.Sequential([fastnn.Input((4,)), fastnn.layers.Dense(5), fastnn.layers.Dense(3)])
    before = model.get_weights()
    for version, file in (("3_15", "adam.weights.h5"), ("2_15", "adam_weights.h5"), ("3_15", "adam.keras")):
        with pytest.raises(fastnn.ModelFileError, match=r"is no file of weights of Keras that fits: (it holds|layer)"):
            opened(model.load_weights, version, file)
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_file_of_weights_is_no_model():
    for version, file in (("3_15", "adam.weights.h5"), ("2_15", "adam_weights.h5")):
        with pytest.raises(
            fastnn.ModelFileError, match="it holds weights and no layers: load_weights of a model of these"
        ):
            opened(fastnn.load_model, version, file)
