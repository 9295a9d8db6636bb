"""Graphs and dialects of Keras's configurations, in files made here: what each becomes, or what is said of it."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest
from exchange.keras_hostile import DENSE, INPUT, archive, layer, reading, sequential, whole_h5, with_file

import fastnn

KERNEL = np.linspace(-1, 1, 16, dtype="f4").reshape(4, 4)
X = np.linspace(-2, 3, 12, dtype="f4").reshape(3, 4)


def arrays(**layers):
    """Return model.weights.h5 with these arrays by layer; two underscores lead into a model."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for name, held in layers.items():
            for k, array in enumerate(held):
                file[f"layers/{name.replace('__', '/layers/')}/vars/{k}"] = array
    return memory.getvalue()


def square(name="dense", **config):
    """Return a Dense of four units without a bias."""
    return layer("Dense", units=4, use_bias=False, **config | {"name": name})


def read(*layers, end, held=None, inputs=("x",), begin=INPUT):
    """Return the model of a graph that reads `inputs` and ends in these layers."""
    ends = end if isinstance(end, (list, dict)) else [[end, 0, 0]]
    config = {
        "name": "g",
        "layers": [begin, *layers],
        "input_layers": [[i, 0, 0] for i in inputs],
        "output_layers": ends,
    }
    content = archive({"class_name": "Functional", "config": config}, arrays(**held or {}))
    return with_file(content, fastnn.load_keras)


def refused(*layers, said, **named):
    with pytest.raises(fastnn.ModelFileError, match=said):
        read(*layers, **named)


def entry(name, shape):
    """Return an Input."""
    return layer("InputLayer", batch_shape=[None, *shape]) | {"config": {"name": name, "batch_shape": [None, *shape]}}


def dense(name, *sources):
    """Return a Dense of four units in a graph."""
    return square(name) | {"inbound_nodes": [[[source, 0, 0, {}] for source in sources]]}


def tensor(name):
    """Return the output of a layer as Keras 3 writes it."""
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "keras_history": [name, 0, 0]}}


ADDITIONS = {
    "Add of Keras 2": reading("Add", "sum", "x", "d"),
    "Add of Keras 3": layer("Add") | {"inbound_nodes": [{"args": [[tensor("d"), tensor("x")]], "kwargs": {}}]},
    "an operation of Keras 3": layer("Add")
    | {"module": "keras.src.ops.numpy", "inbound_nodes": [{"args": [tensor("x"), tensor("d")], "kwargs": {}}]},
    "an operation of tf.keras": {
        "class_name": "TFOpLambda",
        "config": {"name": "sum", "function": "__operators__.add"},
        "inbound_nodes": [["d", 0, 0, {"y": ["x", 0, 0], "name": None}]],
    },
}


@pytest.mark.parametrize("kind", ADDITIONS)
def test_a_sum_is_a_residual_block_however_it_is_written(kind):
    last = ADDITIONS[kind]
    last = last | {"config": last["config"] | {"name": "sum"}}
    model = read(dense("d", "x"), last, end="sum", held={"dense": [KERNEL]})
    assert [type(one).__name__ for one in model.layers] == ["InputLayer", "Residual"]
    np.testing.assert_allclose(model.predict(X), X + X @ KERNEL, rtol=1e-6)


def test_a_tensor_twice_is_a_block_that_does_nothing():
    model = read(reading("Add", "sum", "x", "x"), end="sum")
    np.testing.assert_array_equal(model.predict(X), 2 * X)


def test_a_tensor_that_heads_come_from_may_be_an_output_itself():
    model = read(
        dense("trunk", "x"),
        dense("head", "trunk"),
        end=[["trunk", 0, 0], ["head", 0, 0]],
        held={"dense": [KERNEL], "dense_1": [KERNEL]},
    )
    outputs = model.predict(X)
    np.testing.assert_allclose(outputs["trunk"], X @ KERNEL, rtol=1e-6)
    np.testing.assert_allclose(outputs["head"], X @ KERNEL @ KERNEL, rtol=1e-5)


def test_outputs_of_a_dict_have_its_keys():
    end = {"b": ["two", 0, 0], "a": ["one", 0, 0]}
    model = read(dense("one", "x"), dense("two", "x"), end=end, held={"dense": [KERNEL], "dense_1": [2 * KERNEL]})
    outputs = model.predict(X)
    assert list(outputs) == ["b", "a"]
    np.testing.assert_allclose(outputs["b"], 2 * (X @ KERNEL), rtol=1e-6)


def test_one_input_may_go_several_ways_into_a_join():
    join = reading("Concatenate", "join", "x", "d", axis=-1)
    model = read(dense("d", "x"), join, end="join", held={"dense": [KERNEL]})
    np.testing.assert_allclose(model.predict({"x": X}), np.hstack([X, X @ KERNEL]), rtol=1e-6)


def test_raw_inputs_that_are_joined_before_a_layer_are_one_branch():
    joined = reading("Concatenate", "both", "x", "y", axis=-1)
    last = reading("Concatenate", "all", "d", "z", axis=-1)
    kernel = np.ones((6, 4), "f4")
    model = read(
        entry("y", [2]), entry("z", []), joined, dense("d", "both"), last,
        end="all", inputs=("x", "y", "z"), held={"dense": [kernel]},
    )  # fmt: skip
    y, z = X[:, :2], X[:, 3]
    outputs = model.predict({"x": X, "y": y, "z": z})
    np.testing.assert_allclose(outputs, np.hstack([np.hstack([X, y]) @ kernel, z[:, None]]), rtol=1e-6)


def test_a_number_that_is_no_list_is_embedded():
    table = np.arange(10, dtype="f4").reshape(5, 2)
    embedding = reading("Embedding", "e", "k", input_dim=5, output_dim=2)
    model = read(embedding, end="e", begin=entry("k", []), inputs=("k",), held={"embedding": [table]})
    np.testing.assert_array_equal(model.predict([3, 0]), table[[3, 0]])


@pytest.mark.parametrize("length", [{"input_length": 2}, {"input_length": 2, "batch_input_shape": [None, 2]}])
def test_an_embedding_of_keras_2_may_say_its_input_length(length):
    table = np.arange(10, dtype="f4").reshape(5, 2)
    embedding = reading("Embedding", "e", "k", input_dim=5, output_dim=2, **length)
    flat = reading("Flatten", "f", "e")
    model = read(embedding, flat, end="f", begin=entry("k", [2]), inputs=("k",), held={"embedding": [table]})
    np.testing.assert_array_equal(model.predict([[3, 0]]), table[[3, 0]].reshape(1, 4))


def test_layers_of_a_model_within_are_found_in_its_place():
    base = {"class_name": "Functional", "config": {
        "name": "base", "layers": [entry("i", [4]), dense("d", "i")],
        "input_layers": [["i", 0, 0]], "output_layers": [["d", 0, 0]],
    }, "inbound_nodes": [[["x", 0, 0, {"training": False}]]]}  # fmt: skip
    model = read(base, dense("d", "base"), end="d", held={"functional__dense": [KERNEL], "dense": [2 * KERNEL]})
    np.testing.assert_allclose(model.predict(X), X @ KERNEL @ KERNEL * 2, rtol=1e-5)


@pytest.mark.parametrize("training", [{}, {"training": False}])
def test_the_call_of_a_model_within_is_its_second_one(training):
    base = {"class_name": "Functional", "config": {
        "name": "base", "layers": [entry("i", [4]), dense("d", "i")],
        "input_layers": [["i", 0, 0]], "output_layers": [["d", 0, 0]],
    }, "inbound_nodes": [[["x", 0, 0, training]]]}  # fmt: skip
    last = square("e") | {"inbound_nodes": [[["base", 1, 0, {}]]]}
    for layers, end, wanted in (([base], ["base", 1, 0], KERNEL), ([base, last], ["e", 0, 0], KERNEL @ KERNEL)):
        held = {"functional__dense": [KERNEL], "dense": [KERNEL]}
        model = read(*layers, end=[end], held=held)
        np.testing.assert_allclose(model.predict(X), X @ wanted, rtol=1e-5)


def nodes(*sources, **options):
    """Return the call of a layer of Keras 2 with options."""
    return {"inbound_nodes": [[[source, 0, 0, options] for source in sources]]}


REFUSED = {
    "a shared layer": ([square("d") | {"inbound_nodes": [[["x", 0, 0, {}]], [["d", 0, 0, {}]]]}], "d", "'d' is shared"),
    "a product": ([reading("Multiply", "m", "x", "x")], "m", "'m' is a Multiply: no free graphs of layers here"),
    "three in a sum": ([reading("Add", "a", "x", "x", "x")], "a", "adds 3 tensors, and a Residual two"),
    "two ways that meet": (
        [dense("d", "x"), dense("e", "x"), reading("Add", "a", "d", "e")], "a", "in a way that no Residual",
    ),
    "a way back": (
        [dense("d", "x"), dense("e", "d"), reading("Add", "a", "e", "x"), reading("Add", "b", "a", "d")],
        "b", "in a way that no Residual|is read in a way",
    ),
    "a join in the midst": (
        [dense("d", "x"), reading("Add", "a", "d", "x"), reading("Concatenate", "c", "a", "d", axis=-1)],
        "c", "is read in a way|no place",
    ),
    "another axis": ([reading("Concatenate", "c", "x", "x", axis=0)], "c", "along another axis than the last"),
    "nothing read": ([square("d") | {"inbound_nodes": []}], "d", "'d' reads nothing"),
    "a second output": ([square("d") | {"inbound_nodes": [[["x", 0, 1, {}]]]}], "d", "must name the one output"),
    "dropout that is on": ([layer("Dropout", rate=0.5) | nodes("x", training=True)], "dropout", "with training=True"),
    "dropout that is off": ([layer("Dropout", rate=0.5) | nodes("x", training=False)], "dropout", "with training=F"),
    "a constant": (
        [layer("Add") | {"inbound_nodes": [{"args": [tensor("x"), 1.5], "kwargs": {}}]}], "add", "reads 1.5, which",
    ),
    "a row of several axes": (
        [reading("Embedding", "e", "x", input_dim=5, output_dim=2), dense("d", "e")], "d", "reads rows of several axes",
    ),
    "a layer that leads nowhere": ([dense("d", "x"), dense("e", "x")], "d", "'e' has no place between the inputs"),
    "a custom loss of a layer": ([layer("Dense", units=2, lora_rank=3) | nodes("x")], "dense", "says lora_rank=3"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_layer_here_expresses_is_named(name):
    layers, end, said = REFUSED[name]
    refused(*layers, end=end, said=said)


def test_inputs_that_are_not_joined_are_named():
    refused(entry("y", [4]), reading("Add", "a", "x", "y"), end="a", inputs=("x", "y"), said="'x' and 'y'|no Residual")
    refused(entry("y", [4]), dense("d", "x"), end="d", inputs=("x", "y"), said="inputs 'x' and 'y' are not joined")
    join = reading("Concatenate", "c", "x", "x", axis=-1)
    refused(entry("y", [4]), join, end="c", inputs=("x", "y"), said="input 'y' is not joined with the others")


def test_an_embedding_without_a_flatten_is_refused_in_a_stack_too():
    stack = [INPUT, layer("Embedding", input_dim=5, output_dim=2), DENSE]
    with pytest.raises(fastnn.ModelFileError, match="'dense' reads rows of several axes"):
        with_file(archive({"class_name": "Sequential", "config": {"layers": stack}}), fastnn.load_keras)


@pytest.mark.parametrize(("policy", "held"), [("float64", "f8"), ("mixed_bfloat16", "f4"), ("float32", "f8")])
def test_a_file_of_another_element_type_gives_a_model_of_it(policy, held):
    kernel, bias = KERNEL[:, :3].astype(held), np.zeros(3, held)
    content = archive(sequential(layer("Dense", units=3, dtype=policy)), arrays(dense=[kernel, bias]))
    model = with_file(content, fastnn.load_keras)
    assert model.layers[0].dtype == policy
    assert model.dtype == ("float64" if policy == "float64" else "float32")
    np.testing.assert_array_equal(model.layers[1].kernel, kernel.astype(model.dtype))


@pytest.mark.parametrize("given", [False, True])
def test_a_column_without_a_variance_is_divided_as_in_keras(given):
    statistics = {"mean": [1.0, 2.0, 3.0, 4.0], "variance": [0.0, 4.0, 0.0, 1e-20]}
    config = sequential(layer("Normalization", **statistics if given else {}))
    held = [*(np.array(one, "f4") for one in statistics.values()), np.int64(9)]
    model = with_file(archive(config, arrays(normalization=[] if given else held)), fastnn.load_keras)
    outputs = model.predict([[1.5, 4.0, 3.0, 4.25]])
    # (x - mean) / max(sqrt(variance), 1e-7)
    np.testing.assert_allclose(outputs, [[0.5e7, 1.0, 0.0, 0.25e7]], rtol=1e-6)


@pytest.mark.parametrize("axis", [None, []])
@pytest.mark.parametrize("given", [False, True])
def test_one_mean_of_all_columns_holds_for_each(axis, given):
    statistics = {"mean": 2.0, "variance": 4.0}
    config = sequential(layer("Normalization", axis=axis, **statistics if given else {}))
    held = [*(np.array(one, "f4") for one in statistics.values()), np.int64(9)]
    model = with_file(archive(config, arrays(normalization=[] if given else held)), fastnn.load_keras)
    np.testing.assert_allclose(model.predict(X), (X - 2) / 2, rtol=1e-6, atol=1e-6)


def test_rows_of_several_axes_at_the_end_are_named():
    config = sequential(layer("Dense", units=4, use_bias=False), layer("Reshape", target_shape=[2, 2]))
    with pytest.raises(fastnn.ModelFileError, match=r"last layer must give rows of one axis, got \(2, 2\)"):
        with_file(archive(config, arrays(dense=[KERNEL])), fastnn.load_keras)


def test_what_would_give_other_numbers_is_named():
    lookup = layer("StringLookup", vocabulary=["a"], num_oov_indices=3)
    with pytest.raises(
        fastnn.ModelFileError, match="with 3 indices for unknown words, of which Keras picks one by anot"
    ):
        with_file(archive(sequential(lookup)), fastnn.load_keras)
    muon = layer("Muon", exclude_layers=["^dense"])
    compiled = sequential(DENSE) | {"compile_config": {"optimizer": muon, "loss": "mse"}}
    with pytest.raises(fastnn.ModelFileError, match="its optimizer Muon says exclude_layers by expressions"):
        with_file(archive(compiled), fastnn.load_keras)


@pytest.mark.parametrize("kind", ["Activation", "Dense"])
def test_the_hard_sigmoid_of_keras_2_is_another_function(kind):
    more = {"units": 4, "use_bias": False} if kind == "Dense" else {}
    config = sequential(layer(kind, activation="hard_sigmoid", **more))
    held = arrays(dense=[np.eye(4, dtype="f4")]) if more else arrays()
    with pytest.raises(fastnn.ModelFileError, match=r"has the hard_sigmoid of Keras 2, clip\(0.2 x \+ 0.5, 0, 1\)"):
        with_file(archive(config, held, version="2.15.0"), fastnn.load_keras)
    model = with_file(archive(config, held), fastnn.load_keras)
    np.testing.assert_allclose(model.predict(X), np.clip(X / 6 + 0.5, 0, 1), rtol=1e-5, atol=1e-6)


def test_half_precision_is_named():
    half = arrays(dense=[KERNEL[:, :3].astype("f2"), np.zeros(3, "f2")])
    with pytest.raises(fastnn.ModelFileError, match="'dense' is a Dense that cannot be made here: dtype must be"):
        with_file(archive(sequential(layer("Dense", units=3, dtype="mixed_float16")), half), fastnn.load_keras)
    with pytest.raises(fastnn.ModelFileError, match="is float16, and weights here are float32 or float64"):
        with_file(archive(sequential(layer("Dense", units=3)), half), fastnn.load_keras)


def test_an_archive_that_was_packed_anew_is_recognized_and_unpacked():
    words = layer("InputLayer", batch_shape=[None, 1], dtype="string")
    lookup = layer("StringLookup", vocabulary=None, num_oov_indices=1, mask_token=None, oov_token="[UNK]")
    entries = {
        "assets/layers/string_lookup/vocabulary.txt": "[UNK]\nred\nblue",
        "config.json": json.dumps({"class_name": "Sequential", "config": {"layers": [words, lookup]}}),
        "model.weights.h5": arrays(),
    }
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    model = with_file(memory.getvalue(), fastnn.load_model)
    assert model.predict([["blue"], ["green"]]).tolist() == [[2], [0]]


# ---- older files ----


def old_h5(optimizer):
    """Return an .h5 as Keras before 2.2.3 wrote it, of a model that was trained."""

    def change(file):
        first = {"class_name": "Dense", "config": DENSE["config"] | {"batch_input_shape": [None, 4]}}
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": [first]})
        file.attrs["keras_version"] = "2.1.6"
        told = {"optimizer_config": optimizer, "loss": "mse", "metrics": ["mae"], "sample_weight_mode": None}
        file.attrs["training_config"] = json.dumps(told)
        state = file.create_group("optimizer_weights")
        state.attrs["weight_names"] = ["training/SGD/iter:0"]
        state["training/SGD/iter:0"] = np.int64(4)

    return whole_h5(change)


def test_a_file_of_an_old_keras_is_read_with_its_decay():
    config = {"lr": 0.5, "decay": 0.25, "momentum": 0.0, "nesterov": False}
    model = with_file(old_h5({"class_name": "SGD", "config": config}), fastnn.load_keras)
    assert model.optimizer.iterations == 4
    assert model.optimizer.learning_rate == 0.25  # 0.5 / (1 + 0.25 * 4)
    assert model.metrics_names == ["loss", "mae"]
    np.testing.assert_array_equal(model.predict(np.ones((1, 4))), [[4, 4, 4]])


def test_a_rule_that_is_another_today_is_named():
    config = {"lr": 0.5, "rho": 0.9, "decay": 0.0, "epsilon": None}
    with pytest.raises(
        fastnn.ModelFileError, match=r"RMSprop of Keras before 2.11, which has another rule; load_keras"
    ):
        with_file(old_h5({"class_name": "RMSprop", "config": config}), fastnn.load_keras)


def test_custom_losses_and_metrics_are_given_by_name():
    def mine(y_true, y_pred):
        return np.mean((y_true - y_pred) ** 2), 2 * (y_pred - y_true) / y_true.size

    function = {"module": "builtins", "class_name": "function", "config": "mine", "registered_name": "mine"}
    compiled = {"optimizer": "sgd", "loss": function, "metrics": [function]}
    content = archive(sequential(DENSE) | {"compile_config": compiled}, arrays(dense=[KERNEL[:, :3], KERNEL[0, :3]]))
    for read_it in (fastnn.load_keras, fastnn.load_model):
        model = with_file(content, lambda path, read_it=read_it: read_it(path, custom_objects={"mine": mine}))
        assert model.loss.name == "mine"
    with pytest.raises(fastnn.ModelFileError, match=r"its loss 'mine' is none .* give custom_objects=\{'mine': ...\}"):
        with_file(content, fastnn.load_model)
    with pytest.raises(TypeError, match="custom_objects must be a dict"):
        with_file(content, lambda path: fastnn.load_keras(path, custom_objects=[mine]))


def test_a_model_that_was_not_built_is_read_without_weights():
    config = {"class_name": "Sequential", "config": {"name": "later", "layers": [DENSE]}}
    model = with_file(archive(config, arrays()), fastnn.load_keras)
    assert not model.built
    assert model.name == "later"


def of_version(libver, groups):
    """Return an archive whose arrays lie among so many groups, in a file of this version of HDF5."""
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=libver) as file:
        for k in range(groups):
            file.create_group(f"layers/other_{k}/vars").attrs["name"] = f"other_{k}"
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = np.ones((4, 3), "f4"), np.zeros(3, "f4")
    return archive(sequential(DENSE), memory.getvalue())


@pytest.mark.parametrize(("libver", "groups"), [("earliest", 300), ("v108", 5), ("v110", 5), ("latest", 5)])
def test_files_of_every_version_of_hdf5_are_read(libver, groups):
    model = with_file(of_version(libver, groups), fastnn.load_keras)
    np.testing.assert_array_equal(model.layers[1].kernel, np.ones((4, 3)))


def test_a_large_group_of_the_newest_kind_is_refused():
    with pytest.raises(fastnn.ModelFileError, match="of HDF5's newest kind, which Keras does not write"):
        with_file(of_version("latest", 20), fastnn.load_keras)


def wrapped(name, function):
    """Return a metric as Keras 2 writes it."""
    return {"class_name": "MeanMetricWrapper", "config": {"name": name, "dtype": "float32", "fn": function}}


def of_two_outputs(end, told, version="3.15.1"):
    """Return a model of the heads "b" and "a", which the file of a version of Keras compiles."""
    config = {
        "name": "g", "layers": [INPUT, dense("b", "x"), dense("a", "x")],
        "input_layers": [["x", 0, 0]], "output_layers": end,
    }  # fmt: skip
    described = {"class_name": "Functional", "config": config, "compile_config": {"optimizer": "sgd", **told}}
    content = archive(described, arrays(dense=[KERNEL], dense_1=[KERNEL]), version=version)
    return with_file(content, fastnn.load_keras)


DICT, LIST = {"b": ["b", 0, 0], "a": ["a", 0, 0]}, [["b", 0, 0], ["a", 0, 0]]


@pytest.mark.parametrize(("end", "first", "second"), [(DICT, "a", "b"), (LIST, "b", "a")])
def test_lists_by_output_are_in_the_order_of_keras(end, first, second):
    """Outputs of a dict count by their sorted keys in Keras, whichever order the file has them in."""
    told = {"loss": ["mse", "mae"], "loss_weights": [2.0, 3.0], "metrics": [["mse"], None]}
    model = of_two_outputs(end, told)
    logs = model.evaluate(X, {"a": X, "b": X}, return_dict=True)
    errors = X @ KERNEL - X
    assert logs[f"{first}_loss"] == pytest.approx(np.mean(errors**2), rel=1e-5)
    assert logs[f"{second}_loss"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-5)
    assert logs["loss"] == pytest.approx(2 * np.mean(errors**2) + 3 * np.mean(np.abs(errors)), rel=1e-5)
    assert f"{first}_mse" in logs
    assert f"{second}_mse" not in logs


def test_one_list_of_metrics_is_for_each_output_in_keras_2():
    model = of_two_outputs(LIST, {"loss": "mse", "metrics": ["mae", "mse"]}, "2.15.0")
    assert model.metrics_names == ["loss", "b_loss", "a_loss", "b_mae", "b_mse", "a_mae", "a_mse"]


def test_metrics_keep_the_short_names_that_keras_2_wrapped():
    metrics = [[wrapped("b_mae", "mean_absolute_error")], [wrapped("a_mean_squared_error", "mean_squared_error")]]
    model = of_two_outputs(LIST, {"loss": "mse", "metrics": metrics}, "2.15.0")
    assert model.metrics_names == ["loss", "b_loss", "a_loss", "b_mae", "a_mean_squared_error"]
    own = of_two_outputs(LIST, {"loss": "mse", "metrics": [[wrapped("mse", "mean_absolute_error")], []]}, "2.15.0")
    assert own.metrics_names[-1] == "b_mean_absolute_error"
