"""Arrays of every layout and kind, wherever an array may be handed in: the right answer, or one clear sentence."""

import array
import re

import numpy as np
import pytest

import fastnn
from fastnn import layers
from fastnn.data import arrays
from fastnn.losses._targets import targets

GENERATOR = np.random.default_rng(0)
X = GENERATOR.integers(-8, 9, (12, 3)) / 4  # exact in float16
Y = GENERATOR.integers(0, 5, (12, 2)) / 4
WEIGHTS = GENERATOR.integers(1, 5, (12, 1)) / 2


class Subclass(np.ndarray):
    pass


class WithArray:
    """A tensor of another library that NumPy can read, without NumPy's methods and without an order of batches."""

    def __init__(self, values):
        self._values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self._values, dtype)


class WithDLPack:
    """A tensor that NumPy can read by DLPack alone."""

    def __init__(self, values):
        self._values = np.array(values)

    def __len__(self):
        return len(self._values)

    def __getitem__(self, item):
        raise AssertionError("rows must not be asked for one by one")

    def __dlpack__(self, **arguments):
        return self._values.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


def unaligned(values, dtype="f4"):
    raw = np.zeros(values.size * np.dtype(dtype).itemsize + 3, np.uint8)
    out = raw[3:].view(dtype).reshape(values.shape)
    out[...] = values
    return out


def apart(values):
    wide = np.full((2 * values.shape[0], 3 * values.shape[1]), np.nan, "f4")
    wide[::2, ::3] = values
    return wide[::2, ::3]


def odd_stride(values):
    """Return rows that start at places no whole number of elements apart."""
    fields = np.zeros(len(values), [("row", "f4", values.shape[1:]), ("other", "u1")])
    fields["row"] = values
    return fields["row"]


def readonly(values):
    values = np.array(values, "f4")
    values.flags.writeable = False
    return values


LAYOUTS = {
    "float64": np.array,
    "unaligned": unaligned,
    "unaligned float64": lambda values: unaligned(values, "f8"),
    "odd strides": odd_stride,
    "byte-swapped": lambda values: values.astype(">f4"),
    "byte-swapped float64": lambda values: values.astype(">f8"),
    "Fortran": lambda values: np.asfortranarray(values, "f4"),
    "negative strides": lambda values: np.array(values[::-1, ::-1], "f4")[::-1, ::-1],
    "backwards": lambda values: np.array(values[::-1], "f4")[::-1],
    "apart": apart,
    "float16": lambda values: values.astype("f2"),
    "longdouble": lambda values: values.astype(np.longdouble),
    "objects": lambda values: values.astype(object),
    "nothing masked": lambda values: np.ma.masked_array(values, False),
    "matrix": lambda values: values.view(np.matrix),
    "memoryview": lambda values: memoryview(np.array(values)),
    "readonly": readonly,
    "subclass": lambda values: values.astype("f4").view(Subclass),
    "lists": lambda values: values.tolist(),
    "tuples": lambda values: tuple(map(tuple, values)),
    "rows in a list": lambda values: list(values),
    "__array__": WithArray,
    "__dlpack__": WithDLPack,
}


def network():
    model = fastnn.Sequential([layers.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(2)])
    for k, view in enumerate(model.weights):
        view[...] = np.random.default_rng(k).normal(size=view.shape)
    model._seed = 1
    model.compile("adam", "mse", metrics=["mae"])
    return model


def fitted(x, y, **arguments):
    model = network()
    history = model.fit(x, y, batch_size=5, epochs=2, verbose=0, **arguments)
    return [*history.history.values(), *model.get_weights()]


def in_batches(x, y):
    model = network()
    model.fit(iter([(x, y), (X, Y)]), verbose=0)
    return model.get_weights()


def stepped(x, y, weights=None):
    model = network()
    return [model.train_on_batch(x, y, weights), *model.get_weights()]


def back(grad):
    model = network()
    model.forward(X)
    return [model.backward(grad), *model.gradients]


def adapted(layer, values):
    layer.adapt(values)
    return [layer.mean, layer.variance] if isinstance(layer, layers.Normalization) else layer.bin_boundaries


def with_weights(kernel):
    model = network()
    model.set_weights([kernel, *model.get_weights()[1:]])
    model.layers[1].set_weights([kernel, model.get_weights()[1]])
    return model.get_weights()


ENTRIES = {  # what is handed in, what messages call it, and what is computed from it
    "fit x": (X, "x", lambda x: fitted(x, Y)),
    "fit y": (Y, "y", lambda y: fitted(X, y)),
    "fit sample_weight": (WEIGHTS, "sample_weight", lambda w: fitted(X, Y, sample_weight=w)),
    "validation x": (X, "validation_data's x", lambda x: fitted(X, Y, validation_data=(x, Y))),
    "validation y": (Y, "validation_data's y", lambda y: fitted(X, Y, validation_data=(X, y))),
    "validation weights": (
        WEIGHTS, "validation_data's sample_weight", lambda w: fitted(X, Y, validation_data=(X, Y, w)),
    ),
    "batches x": (X, "the first batch's x", lambda x: in_batches(x, Y)),
    "batches y": (Y, "the first batch's y", lambda y: in_batches(X, y)),
    "evaluate x": (X, "x", lambda x: network().evaluate(x, Y, verbose=0)),
    "evaluate y": (Y, "y", lambda y: network().evaluate(X, y, verbose=0)),
    "evaluate sample_weight": (WEIGHTS, "sample_weight", lambda w: network().evaluate(X, Y, sample_weight=w)),
    "train_on_batch x": (X, "x", lambda x: stepped(x, Y)),
    "train_on_batch y": (Y, "y", lambda y: stepped(X, y)),
    "train_on_batch sample_weight": (WEIGHTS, "sample_weight", lambda w: stepped(X, Y, w)),
    "test_on_batch": (X, "x", lambda x: network().test_on_batch(x, Y)),
    "predict": (X, "x", lambda x: network().predict(x)),
    "predict in steps": (X, "x", lambda x: network().predict(x, steps=3)),
    "predict_on_batch": (X, "x", lambda x: network().predict_on_batch(x)),
    "forward": (X, "x", lambda x: network().forward(x, training=True)),
    "backward": (Y, "grad", back),
    "Predictor": (X, "x", lambda x: network().freeze()(x)),
    "Normalization.adapt": (X, "data", lambda x: adapted(layers.Normalization(), x)),
    "Discretization.adapt": (X, "data", lambda x: adapted(layers.Discretization(num_bins=3), x)),
    "set_weights": (np.array(X[:4].T), "weights for (dense/)?kernel", with_weights),
    "metric y_true": (Y, "y_true", lambda y: [fastnn.metrics.MeanSquaredError()(y, Y + 1)]),
    "metric y_pred": (Y, "y_pred", lambda y: [fastnn.metrics.MeanSquaredError()(Y + 1, y)]),
    "metric in Python": (
        Y, "y_pred", lambda y: [fastnn.metrics.FunctionMetric(lambda t, y: np.abs(t - y).mean(axis=1))(Y + 1, y)],
    ),
    "loss": (Y, "y_true", lambda y: [fastnn.losses.MeanSquaredError()(y, Y + 1)]),
}  # fmt: skip
ANSWERS = {name: run(np.array(values, "f4")) for name, (values, _, run) in ENTRIES.items()}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_of_every_layout_give_the_same_bits(layout, entry):
    values, _, run = ENTRIES[entry]
    before = values.copy()
    for ours, theirs in zip(run(LAYOUTS[layout](values)), ANSWERS[entry], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(values, before)


class Unreadable:
    """A tensor in the memory of another device."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("it lies on another device: call cpu() first")


def with_one(values, odd):
    objects = values.astype(object)
    objects[1, 0] = odd
    return objects


NO_ARRAYS = {
    "text": (lambda values: values.astype(str), "real numbers, got text: row 0 holds '"),
    "text among numbers": (lambda values: with_one(values, "red"), "real numbers, got text: row 1 holds 'red'"),
    "None": (lambda values: with_one(values, None), "real numbers, but row 1 holds None: fill it first"),
    "a list in it": (lambda values: with_one(values, [1]), "but row 1 holds [1], of type list: make columns of them"),
    "complex": (lambda values: values + 1j, "real numbers, got complex data"),
    "dates": (lambda values: values.astype("M8[s]"), "real numbers, got datetime data"),
    "fields": (
        lambda values: np.zeros(len(values), [("a", "f4"), ("b", "f4")]), "real numbers, got a structured array",
    ),
    "masked": (
        lambda values: np.ma.masked_equal(values, values[0, 0]), "masked values, whose mask would be lost: fill them",
    ),
    "rows of several lengths": (lambda values: [[1.0]] + [[1.0, 2.0]] * (len(values) - 1), "rows of one length"),
    "elsewhere": (lambda values: Unreadable(), "but of this Unreadable it says: it lies on another device: call cpu()"),
}  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_what_is_no_array_of_numbers_gets_one_sentence_of_the_argument(kind, entry):
    make, sentence = NO_ARRAYS[kind]
    values, name, run = ENTRIES[entry]
    with pytest.raises((TypeError, ValueError)) as caught:
        run(make(values))
    message = str(caught.value)
    assert re.match(f"{name} (must|has) ", message), message
    assert sentence in message
    assert "\n" not in message
    assert ("StringLookup layer" in message) == (name.split("'s ")[-1] in ("x", "data") and "text" in kind)
    assert ("numpy.unique" in message) == (name.split("'s ")[-1] in ("y", "y_true") and "text" in kind)


BAD_SHAPES = {
    "no axis": lambda values: 1.0,
    "no columns": lambda values: values[:, :0],
    "no rows": lambda values: values[:0],
    "rows of two axes": lambda values: np.stack([values, values], axis=2),
}
OF_ANY_SHAPE = ("Discretization.adapt", "metric y_pred", "metric in Python")
ANSWER_NO_ROWS = ("predict", "predict in steps", "predict_on_batch", "forward", "Predictor")


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry not in OF_ANY_SHAPE])
@pytest.mark.parametrize("kind", BAD_SHAPES)
def test_odd_shapes_get_one_sentence_of_the_argument(kind, entry):
    values, name, run = ENTRIES[entry]
    if kind == "no rows" and entry in ANSWER_NO_ROWS:
        if entry != "predict in steps":
            assert run(values[:0]).shape == (0, 2)
        return
    with pytest.raises((TypeError, ValueError), match=f"^([ \\w]+'s x and |x and |y_pred and |){name} must") as caught:
        run(BAD_SHAPES[kind](values))
    assert name.endswith("x") or "x[" not in str(caught.value)


def test_no_rows_in_steps_are_an_answer_of_no_rows():
    with pytest.warns(UserWarning, match="the data ran out"):
        assert network().predict(X[:0], steps=3).shape == (0, 2)


# ---- one axis ----

ONE_AXIS = {
    "list": list,
    "array.array": lambda values: array.array("d", values),
    "memoryview": lambda values: memoryview(array.array("f", values)),
    "range-like": tuple,
    "masked, nothing of it": lambda values: np.ma.masked_array(values, False),
    "objects": lambda values: np.array(values, object),
    "__dlpack__": WithDLPack,
    "__array__": WithArray,
    "backwards": lambda values: np.array(values[::-1])[::-1],
}


@pytest.mark.parametrize("kind", ONE_AXIS)
def test_one_axis_is_rows_of_one_number(kind):
    values = X[:, 0]
    model = fastnn.Sequential([layers.Input((1,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    given, wanted = ONE_AXIS[kind](values), values[:, None].astype("f4")
    np.testing.assert_array_equal(model.predict(given), model.predict(wanted))
    ours, theirs = (model.evaluate(x, y, sample_weight=w, verbose=0) for x, y, w in ([given] * 3, [wanted] * 3))
    assert ours == theirs


def test_missing_values_of_one_axis_are_not_lost():
    """Missing values in one axis, those of a mask or nulls of pandas, are NaN, as they are in two axes."""
    model = fastnn.Sequential([layers.Input((1,)), layers.Dense(1)])
    with pytest.raises(ValueError, match="x has masked values"):
        model.predict(np.ma.masked_array([1.0, 2.0], [False, True]))
    pandas = pytest.importorskip("pandas")
    found = model.predict(pandas.Series([True, None], dtype="boolean"))
    np.testing.assert_array_equal(np.isnan(found), [[False], [True]])


def test_weights_beyond_the_range_change_nothing():
    model = network()
    before = model.get_weights()
    with pytest.raises(ValueError, match="weights for dense/bias must lie in the range of float32"):
        model.set_weights([np.ones((3, 4)), np.full(4, 1e300), *before[2:]])
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_may_be_each_others_views():
    model = fastnn.Sequential([layers.Input((2,)), layers.Dense(2), layers.Dense(2)])
    first, second = (model.weights[at].copy() for at in (0, 2))
    model.set_weights([model.weights[2], model.weights[1], model.weights[0], model.weights[3]])
    np.testing.assert_array_equal(model.weights[0], second)
    np.testing.assert_array_equal(model.weights[2], first)


# ---- piece by piece ----


class Looks:
    """Notes the rows that are looked at at a time, in pieces of four rows of x; may raise Ctrl-C at one of them."""

    def __init__(self, monkeypatch, interrupted=None):
        self.rows, self._interrupted, self._all_finite = [], interrupted, arrays.all_finite
        monkeypatch.setattr(arrays, "_PIECE", 4 * 3 * 4)
        monkeypatch.setattr(arrays, "all_finite", self)

    def __call__(self, rows):
        if len(self.rows) == self._interrupted:
            raise KeyboardInterrupt
        self.rows.append(len(rows))
        return self._all_finite(rows)


def of_categories():
    return fastnn.Sequential([layers.Input((3,)), layers.Embedding(5, 2), layers.Dense(5, "softmax")])


@pytest.mark.parametrize("entry", ENTRIES)
def test_large_arrays_are_converted_piece_by_piece(entry, monkeypatch):
    values, _, run = ENTRIES[entry]
    looks = Looks(monkeypatch)
    for ours, theirs in zip(run(LAYOUTS["Fortran"](values)), ANSWERS[entry], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    looks.rows.clear()
    arrays.inputs(X, 3, "float32", check_finite=True)
    assert looks.rows == [4, 4, 4]


def test_what_is_wrong_in_a_later_piece_has_its_own_number(monkeypatch):
    Looks(monkeypatch)
    x, labels = np.zeros((12, 3)), np.zeros(12, int)
    x[9, 1], labels[10] = np.nan, 7
    model = of_categories()
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="x must be finite, but row 9 holds"):
        model.fit(x, labels, verbose=0)
    x[9, 1] = 6
    with pytest.raises(ValueError, match="x must hold whole numbers from 0 to 4 for layer 'embedding', but row 9 h"):
        model.fit(x, labels, verbose=0)
    for given in (labels, labels.astype(float), labels.astype("i1")):
        with pytest.raises(ValueError, match="y must hold labels from 0 to 4, but row 10 is 7"):
            model.fit(np.zeros((12, 3)), given, verbose=0)


@pytest.mark.parametrize("interrupted", range(5))
def test_an_interrupt_between_two_pieces_leaves_the_model_as_it_was(interrupted, monkeypatch):
    model = fastnn.Sequential([layers.Dense(2)])
    model.compile("sgd", "mse")
    Looks(monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, callbacks=[fastnn.callbacks.Callback()], verbose=0)
    assert not model.built


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_are_all_the_same_memory_are_looked_at_once(dtype, monkeypatch):
    """Rows that numpy.broadcast_to makes, 2**40 of twelve bytes, are neither read for hours nor copied."""
    looks = Looks(monkeypatch)
    x = np.broadcast_to(np.array([1, 2, 3], dtype), (2**40, 3))
    rows = arrays.inputs(x, 3, "float32", check_finite=True, defer=True)
    assert looks.rows == [1]
    assert rows.shape == (2**40, 3)
    assert of_categories()._checked(rows) is rows
    missing = np.broadcast_to(np.array([1, np.nan, 3], dtype), (2**40, 3))
    with pytest.raises(ValueError, match="x must be finite, but row 0 holds"):
        arrays.inputs(missing, 3, "float32", check_finite=True, defer=True)
    y = np.broadcast_to(np.float32(0.5), (2**40, 1))
    loss = fastnn.losses.BinaryCrossentropy()
    assert targets(y, 2**40, 1, loss, "float32", check_finite=True).shape == (2**40, 1)
    outside = np.broadcast_to(np.float32(2), (2**40, 1))
    with pytest.raises(ValueError, match="y must lie between 0 and 1 for binary_crossentropy, but row 0 is"):
        targets(outside, 2**40, 1, loss, "float32", check_finite=True)


# ---- names of arguments ----


def of_heads():
    heads = {"kind": [layers.Dense(3, "softmax")], "price": [layers.Dense(1)]}
    model = fastnn.Sequential([layers.Input((3,)), layers.Heads(heads)])
    model.compile("sgd", {"kind": "sparse_categorical_crossentropy", "price": "mse"})
    return model


def by_head(**changes):
    return {"kind": np.zeros(12, int), "price": np.zeros(12)} | changes


WRONG_TARGETS = {
    "text": (
        {"kind": np.array(["cat"] * 12)},
        r"y\['kind'\] must hold real numbers, got text: row 0 holds 'cat'; number the",
    ),
    "a label": ({"kind": np.arange(12)}, r"y\['kind'\] must hold labels from 0 to 2, but row 3 is 3"),
    "a part of a label": (
        {"kind": np.arange(12) / 8},
        r"y\['kind'\] must hold integer class labels, but row 1 is 0.125",
    ),
    "one-hot rows": ({"kind": np.eye(12)[:, :3]}, r"y\['kind'\] must hold one integer class a row"),
    "missing": ({"price": np.full(12, np.nan)}, r"y\['price'\] must be finite, but row 0 holds"),
    "columns": ({"price": np.zeros((12, 2))}, r"y\['price'\] must have shape \(12, 1\) like the model's output"),
    "rows": (
        {"price": np.zeros(5)},
        r"x and {of}y\['price'\] must have the same number of rows, got 12 rows and 5 rows",
    ),
    "no head": ({"prices": np.zeros(12)}, "y names 'prices', which is no head; did you mean 'price'"),
}
PLACES = {
    "": lambda model, y: model.fit(X, y, verbose=0),
    "validation_data's ": lambda model, y: model.fit(X, by_head(), validation_data=(X, y), verbose=0),
    "the first batch's ": lambda model, y: model.fit(iter([(X, y)]), verbose=0),
    "batch 1's ": lambda model, y: model.fit(iter([(X, by_head()), (X, y)]), verbose=0),
    "validation_data's the first batch's ": lambda model, y: model.fit(
        X, by_head(), validation_data=iter([(X, y)]), verbose=0
    ),
}


@pytest.mark.parametrize("of", PLACES)
@pytest.mark.parametrize("kind", WRONG_TARGETS)
def test_targets_are_called_by_their_place(kind, of):
    changes, sentence = WRONG_TARGETS[kind]
    with pytest.raises((TypeError, ValueError), match=f"^{of}{sentence.replace('{of}', of)}"):
        PLACES[of](of_heads(), by_head(**changes))


VECTORS = {
    "bin_boundaries": lambda values: list(layers.Discretization(values).bin_boundaries),
    "mean": lambda values: layers.Normalization(mean=values, variance=[1.0, 1.0, 1.0]).mean.ravel().tolist(),
    "variance": lambda values: layers.Normalization(mean=[0.0, 0.0, 0.0], variance=values).variance.ravel().tolist(),
}


@pytest.mark.parametrize("argument", VECTORS)
def test_numbers_of_a_layer_are_arrays_like_others(argument):
    make, numbers = VECTORS[argument], np.array([0.5, 1.0, 2.0])
    for layout in ONE_AXIS.values():
        assert make(layout(numbers)) == [0.5, 1.0, 2.0]
    with pytest.raises(ValueError, match=f"^{argument} has masked values"):
        make(np.ma.masked_equal(numbers, 1.0))
    with pytest.raises(TypeError, match=f"^{argument} must hold real numbers, got text: row 1 holds 'two'$"):
        make([1.0, "two", 3.0])


def test_classes_of_text_are_told_how_to_become_numbers():
    with pytest.raises(TypeError, match=r"x must hold integer class labels, got dtype <U3; number the classes first"):
        fastnn.utils.to_categorical(["cat", "dog"])
