"""Sparse x: the results of dense rows, from any format of scipy.sparse, without ever being made dense."""

import copy
import itertools
import tracemalloc

import numpy as np
import pytest
from bits import same_on_any_threads
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import fastnn
from fastnn import layers
from fastnn._engine import build_info, check_sparse
from fastnn._sparse_rows import SparseRows


def network(features, units=6, dtype="float32", activation="relu", optimizer="adam", use_bias=True):
    first = layers.Dense(units, activation, use_bias=use_bias)
    model = fastnn.Sequential([fastnn.Input((features,), dtype=dtype), first, layers.Dense(3, "softmax")])
    generator = np.random.default_rng(features)
    for view in model.weights:
        view[...] = generator.normal(size=view.shape) / np.sqrt(view.shape[0])
    model._seed = 0
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def rows_of(count, features, density, dtype="float32", seed=0):
    generator = np.random.default_rng(seed)
    x = sparse.random(count, features, density, "csr", dtype=dtype, random_state=generator)
    return x, generator.integers(0, 3, count)


def assert_same_models(first, second):
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("features", "units", "batch"),
    [
        (50, 8, 16),
        (700, 3, 7),
        (2000, 1, 33),
        (300, 200, 270),  # this many rows, and a dense product is not cut into parts
        (300, 150, 100),  # this small, and a dense product stays out of the matrix unit
        (9000, 64, 32),  # a large kernel, whose dense products are packed
        (30, 257, 100),  # three panels of columns
    ],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", fastnn.optimizers.SGD(0.1, momentum=0.9, nesterov=True)])
def test_the_bits_of_dense_rows(features, units, batch, dtype, optimizer, assert_same_rows):
    """Terms that are zero change no sum, and the other terms are added in the same order."""
    x, y = rows_of(280, features, 0.03, dtype)
    ours, theirs = (network(features, units, dtype, optimizer=optimizer) for _ in range(2))
    history = ours.fit(x, y, batch_size=batch, epochs=2, verbose=0).history
    expected = theirs.fit(x.toarray(), y, batch_size=batch, epochs=2, verbose=0).history
    if (features * units > 2**18 or batch >= 128) and dtype == "float32" and build_info()["matrix_unit"]:
        # With a large kernel or many rows the dense product sums in another order; Adam enlarges differences of small
        # gradients.
        np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4)
        return
    assert_same_models(ours, theirs)
    np.testing.assert_array_equal(history["loss"], expected["loss"])
    if dtype == "float64":
        assert_same_rows = np.testing.assert_array_equal
    assert_same_rows(ours.predict(x), theirs.predict(x.toarray()))
    # The losses of rows are the same, but are added up in tiles of another height, and in float32 may be rounded
    # differently.
    tolerance = 1e-6 if dtype == "float32" and build_info()["matrix_unit"] else 1e-12
    evaluated = ours.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(evaluated, theirs.evaluate(x.toarray(), y, verbose=0), rtol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-13)])
def test_dense_products_in_parts_are_equal_to_rounding(dtype, tolerance):
    """For a wide kernel and a small batch, a dense product adds 300 terms in two parts, which rounds differently."""
    x, y = rows_of(280, 300, 0.1, dtype)
    ours, theirs = network(300, 64, dtype, optimizer="sgd"), network(300, 64, dtype, optimizer="sgd")
    ours.fit(x, y, batch_size=32, epochs=2, verbose=0)
    theirs.fit(x.toarray(), y, batch_size=32, epochs=2, verbose=0)
    for first, second in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, rtol=tolerance, atol=tolerance / 10)


@settings(max_examples=40)
@given(
    rows=st.sampled_from([1, 2, 33, 100]),
    features=st.sampled_from([1, 2, 17, 100, 1500]),
    units=st.sampled_from([1, 5, 16, 33, 130]),
    density=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    threads=st.sampled_from([1, 2, 3, 8]),
    use_bias=st.booleans(),
)
@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
def test_outputs_and_gradients_by_the_formulas(rows, features, units, density, threads, use_bias):
    fastnn.set_num_threads(threads)
    x, _ = rows_of(rows, features, density, "float64", seed=rows + units)
    model = network(features, units, "float64", "tanh", use_bias=use_bias)
    dy = np.random.default_rng(1).normal(size=(rows, 3))
    weights = [w.copy() for w in model.weights]
    kernel, bias = (weights[0], weights[1]) if use_bias else (weights[0], 0.0)
    hidden = np.tanh(x @ kernel + bias)
    logits = hidden @ weights[-2] + weights[-1]
    output = np.exp(logits - logits.max(1, keepdims=True))
    output /= output.sum(1, keepdims=True)
    dz = output * (dy - (dy * output).sum(1, keepdims=True)) @ weights[-2].T * (1 - hidden**2)
    # Float64 sums of up to 1500 terms in another order.
    np.testing.assert_allclose(model.forward(x), output, rtol=1e-9, atol=1e-12)
    assert model.backward(dy) is None
    np.testing.assert_allclose(model.gradients[0], x.T @ dz, rtol=1e-9, atol=1e-11)
    if use_bias:
        np.testing.assert_allclose(model.gradients[1], dz.sum(0), rtol=1e-9, atol=1e-11)


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.parametrize("features", [60, 3000, 20000])
def test_bits_do_not_depend_on_threads(features):
    x, y = rows_of(300, features, 0.01)

    def trained():
        model = network(features, 48)
        losses = model.fit(x, y, batch_size=40, epochs=2, verbose=0).history["loss"]
        return [*model.get_weights(), losses, model.predict(x)]

    same_on_any_threads(trained)


FORMATS = ["csr_matrix", "csr_array", "csc_matrix", "csc_array", "coo_array", "lil_matrix", "bsr_array", "dok_array"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_any_format_and_type(form, dtype):
    dense = np.where(np.random.default_rng(0).random((20, 9)) < 0.3, 3, 0).astype(dtype)
    model = network(9)
    np.testing.assert_array_equal(model.predict(getattr(sparse, form)(dense)), model.predict(dense))


def test_arrays_of_the_right_kind_are_read_in_place():
    x, _ = rows_of(20, 9, 0.3)
    rows = fastnn.data.arrays.inputs(x, 9, "float32", check_finite=True)
    assert isinstance(rows, SparseRows)
    assert np.shares_memory(rows.values, x.data)
    assert np.shares_memory(rows.columns, x.indices)
    part = rows[5:12]
    assert np.shares_memory(part.values, x.data)
    assert (len(part), part.entries, part.shape) == (7, x[5:12].nnz, (7, 9))


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_unsorted_and_duplicate_entries_add_up(index):
    data, indices, indptr = [1.0, 2, 3, 4, 5], np.array([2, 0, 2, 1, 1], index), np.array([0, 3, 3, 5], index)
    x = sparse.csr_matrix((np.array(data, "float32"), indices, indptr), shape=(3, 4))
    model = network(4)
    np.testing.assert_array_equal(model.predict(x), model.predict([[2, 0, 4, 0], [0, 0, 0, 0], [0, 9, 0, 0]]))
    np.testing.assert_array_equal(x.indices, [2, 0, 2, 1, 1])  # the caller's matrix is not changed
    np.testing.assert_array_equal(x.data, data)


def test_explicit_zeros_and_empty_rows():
    x = sparse.csr_array((np.array([0.0, 1, 0]), np.array([0, 1, 3]), np.array([0, 0, 2, 2, 3])), shape=(4, 4))
    y = [0, 1, 2, 0]
    ours, theirs = network(4), network(4)
    for _ in range(3):
        assert ours.train_on_batch(x, y) == theirs.train_on_batch(x.toarray(), y)
    assert_same_models(ours, theirs)


def test_validation_and_dense_rows_in_turn():
    x, y = rows_of(100, 30, 0.2)
    ours, theirs = network(30), network(30)
    for data in (x, x.toarray(), x):  # dense rows between sparse ones change nothing
        history = ours.fit(data, y, batch_size=9, epochs=2, validation_split=0.3, verbose=0).history
        expected = theirs.fit(x, y, batch_size=9, epochs=2, validation_split=0.3, verbose=0).history
        assert history == expected
    ours.fit(x[:60], y[:60], validation_data=(x[60:].toarray(), y[60:]), verbose=0)
    theirs.fit(x[:60], y[:60], validation_data=(x[60:], y[60:]), verbose=0)
    assert_same_models(ours, theirs)


def test_growing_batches():
    """The room for a batch's entries is that of the fullest batch of this size that the rows can give."""
    ours, theirs = network(40), network(40)
    for density, batch in ((0.05, 10), (0.9, 10), (0.1, 50), (0.9, 3)):
        x, y = rows_of(50, 40, density)
        ours.fit(x, y, batch_size=batch, verbose=0)
        theirs.fit(x.toarray(), y, batch_size=batch, verbose=0)
    assert_same_models(ours, theirs)
    rows = fastnn.data.arrays.inputs(x, 40, "float32", check_finite=False)
    counts = np.sort(np.diff(x.indptr))
    assert [rows.most_entries(n) for n in (1, 7, 50, 99)] == [counts[-1], counts[-7:].sum(), x.nnz, x.nnz]


def test_an_own_loop():
    x, y = rows_of(30, 50, 0.1)
    model = network(50, optimizer="sgd")
    twin = network(50, optimizer="sgd")
    output = model.forward(x)
    output[np.arange(30), y] -= 1
    probabilities = model.forward(x)
    grad = np.zeros_like(output)
    grad[np.arange(30), y] = -1 / probabilities[np.arange(30), y] / 30
    model.backward(grad)
    model.apply_gradients()
    twin.train_on_batch(x, y)
    for first, second in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)  # softmax and loss fused or one by one


def test_an_ensemble():
    x, y = rows_of(60, 40, 0.2)
    members, alone = [network(40), network(40)], network(40)
    fastnn.Ensemble(members).fit(x, y, batch_size=8, epochs=2, verbose=0)
    alone.fit(x, y, batch_size=8, epochs=2, verbose=0)
    assert_same_models(members[0], alone)


def test_wide_text_is_never_made_dense(monkeypatch):
    features, count = 100_000, 2000
    for kind in (sparse.csr_matrix, sparse.csr_array):
        for name in ("toarray", "todense"):
            monkeypatch.setattr(kind, name, None)
    x, y = rows_of(count, features, 50 / features)
    model = network(features, 16)
    model.fit(x[:64], y[:64], verbose=0)
    tracemalloc.start()
    try:
        model.fit(x, y, epochs=1, batch_size=64, verbose=0, validation_split=0.1)
        model.predict(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * x.data.nbytes + 4e6  # dense rows of one batch would be 25.6 MB


def test_text_is_learned():
    generator = np.random.default_rng(0)
    topics = generator.integers(0, 3, 600)
    words = np.array([generator.choice(1000, 20, replace=False) * 3 + topic for topic in topics])
    x = sparse.csr_matrix((np.full(words.size, 0.2), words.ravel(), np.arange(0, words.size + 1, 20)), (600, 3000))
    model = network(3000, 16, optimizer=fastnn.optimizers.Adam(0.01))
    model.fit(x[:400], topics[:400], epochs=20, verbose=0)
    assert model.evaluate(x[400:], topics[400:], verbose=0)[1] > 0.9


# ---- rows that rest while no batch touches them ----

RESTING = 33_000  # features by 16 units: just large enough for rows to rest
OPTIMIZERS = fastnn.optimizers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        (OPTIMIZERS.SGD, {"learning_rate": OPTIMIZERS.schedules.ExponentialDecay(0.1, 10, 0.9)}),
        (OPTIMIZERS.SGD, {"momentum": 0.9}),
        (OPTIMIZERS.Adam, {"amsgrad": True}),
        (OPTIMIZERS.AdamW, {"weight_decay": 0.01, "clipvalue": 0.01}),
        (OPTIMIZERS.Nadam, {}),
        (OPTIMIZERS.RMSprop, {"centered": True, "momentum": 0.5}),
        (OPTIMIZERS.Lion, {}),
        (OPTIMIZERS.Adam, {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 40}),
        (OPTIMIZERS.Adam, {"gradient_accumulation_steps": 3}),  # with this argument no row rests
    ],
)
def test_rows_that_rest_have_the_bits_of_rows_that_do_not(optimizer, settings, dtype):
    x, y = rows_of(100, RESTING, 0.001, dtype)
    models = []
    for data in (x, x.toarray()):
        model = network(RESTING, 16, dtype, optimizer=optimizer(**settings))
        model.layers[1].learning_rate_multiplier = 0.5 if "clipvalue" in settings else 1.0
        model.compile(optimizer(**settings), "sparse_categorical_crossentropy")
        model.fit(data, y, batch_size=2, epochs=2, verbose=0)  # 50 steps, after which a row makes up for at most 32
        models.append(model)
    assert_same_models(*models)
    for first, second in zip(models[0]._engine.slots, models[1]._engine.slots, strict=True):
        np.testing.assert_array_equal(first, second)


def test_no_row_rests_where_a_step_needs_the_norm_of_all_gradients():
    x, y = rows_of(60, RESTING, 0.001, "float64")
    models = []
    for data in (x, x.toarray()):
        model = network(RESTING, 16, "float64", optimizer=OPTIMIZERS.Adam(clipnorm=0.1))
        model.fit(data, y, batch_size=2, verbose=0)
        models.append(model)
    for first, second in zip(*(model.get_weights() for model in models), strict=True):
        # stripes of other heights sum the norm in another order
        np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-14)


def test_rows_that_rest_are_constrained():
    x, y = rows_of(100, RESTING, 0.001)
    models = []
    for data in (x, x.toarray()):
        kernel = layers.Dense(16, "relu", kernel_constraint="non_neg")
        model = fastnn.Sequential([fastnn.Input((RESTING,)), kernel, layers.Dense(3, "softmax")])
        model.set_weights(network(RESTING, 16).get_weights())
        model._seed = 0
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(data, y, batch_size=2, verbose=0)
        models.append(model)
    assert_same_models(*models)
    assert models[0].get_weights()[0].min() == 0


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_that_is_stopped_leaves_no_row_behind(threads):
    fastnn.set_num_threads(threads)
    x, y = rows_of(200, RESTING, 0.001)
    stopped, alone = network(RESTING, 16), network(RESTING, 16)
    order = np.random.default_rng(0).integers(0, 200, 400_000)

    def stop(steps, sums):
        raise KeyboardInterrupt

    arrays = stopped._convert("fit", x, y.astype("int32"), check_finite=True)
    engine, _, optimizer = stopped._ready("fit")
    with pytest.raises(KeyboardInterrupt):
        engine.train(*arrays, order, 4, optimizer.hyperparameters(), stop)
    done = engine.iterations
    assert 0 < done < 100_000
    engine, _, optimizer = alone._ready("fit")
    for start in range(0, 4 * done, 4 * 1000):  # several runs, each of which ends with all rows awake
        part = order[start : min(start + 4000, 4 * done)]
        engine.train(*arrays, part, 4, optimizer.hyperparameters())
    assert_same_models(stopped, alone)


# ---- what cannot be ----


def broken(**changes):
    """Return a matrix whose arrays were changed behind scipy's back."""
    x = sparse.csr_matrix(np.eye(4, dtype="float32"))
    for name, value in changes.items():
        setattr(x, name, np.array(value, getattr(x, name).dtype if name == "data" else "int32"))
    return x


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indptr": [0, 1, 2, 3]}, "x's indptr must hold 5 numbers"),
        ({"indptr": [0, 3, 2, 3, 4]}, "x's indptr must rise"),
        ({"indptr": [-1, 1, 2, 3, 4]}, "x's indptr must rise"),
        ({"indptr": [0, 1, 2, 3, 5]}, "x's indptr must rise"),
        ({"indices": [0, 1, 2, 4]}, "x's indices must lie between 0 and 3"),
        ({"indices": [0, -1, 2, 3]}, "x's indices must lie between 0 and 3"),
        ({"indices": [0, 1, 2]}, "must be of one length, got"),
        ({"data": [1, 1, 1]}, "must be of one length, got"),
    ],
)
def test_arrays_from_strangers(changes, message):
    model = network(4)
    for call in (model.predict, lambda x: model.fit(x, [0, 1, 2, 0], verbose=0), model.forward):
        with pytest.raises(ValueError, match=message):
            call(broken(**changes))


def test_indices_beyond_int32():
    x = sparse.csr_matrix(np.eye(4, dtype="float32"))
    x.indices = np.array([0, 1, 2, 2**32 + 3])
    with pytest.raises(ValueError, match="x's indices must lie between 0 and 3"):
        network(4).predict(x)


def test_the_check_itself():
    def check(starts, columns, features):
        return check_sparse(np.array(starts, np.int64), np.array(columns, np.int32), features)

    assert [check([0], [], 0), check([0, 2], [0, 3], 4), check([1, 2], [9, 3], 4)] == [0, 0, 0]
    assert check([0, 2, 3], [1, 0, 3], 4) == check([0, 2], [1, 1], 4) == 1
    assert check([0, 3], [1, 2], 4) == check([2, 1], [1, 2], 4) == 2
    assert check([0, 1], [4], 4) == check([0, 1], [-1], 4) == 3
    with pytest.raises(ValueError, match="int64"):
        check_sparse(np.zeros(2, np.int32), np.zeros(1, np.int32), 4)


def test_bad_values():
    x, y = rows_of(10, 5, 0.6)
    x.data[x.indptr[7]] = np.nan
    model = network(5)
    before = model.get_weights()
    with pytest.raises(ValueError, match="x must be finite, but row 7 holds"):
        model.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="x must have 5 features a row, as the model was built for, got 6"):
        model.fit(sparse.csr_matrix((10, 6)), y)
    with pytest.raises(TypeError, match="real numbers, got a sparse matrix of dtype complex"):
        model.fit(x.astype(complex), y)
    with pytest.raises(TypeError, match="y is a sparse matrix, which it cannot be: pass what its toarray"):
        model.fit(x, sparse.csr_matrix(y[:, None]), check_finite=False)
    with pytest.raises(ValueError, match="same number of rows"):
        model.fit(x, y[:4], check_finite=False)
    with pytest.raises(TypeError, match="frozen Predictor cannot read"):
        model.freeze()(x)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.isnan(model.predict(x)).any()  # as with dense rows, predict looks for NaN only when asked


@pytest.mark.parametrize(
    "first",
    [layers.Dropout(0.2), layers.BatchNormalization(), layers.Embedding(4, 2), layers.Residual([layers.Dense(5)])],
)
def test_other_first_layers(first):
    x, y = rows_of(10, 5, 0.5)
    model = fastnn.Sequential([copy.deepcopy(first), layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(TypeError, match=f"x is sparse, which needs a Dense first layer, got {type(first).__name__} '"):
        model.fit(x, y, verbose=0)
    assert not model.built
    model.build((None, 5))
    with pytest.raises(TypeError, match="needs a Dense first layer"):
        model.predict(x)


def test_an_unbuilt_model_is_built_from_sparse_rows(tmp_path):
    x, y = rows_of(30, 12, 0.3)
    model = fastnn.Sequential([layers.Dense(4, "relu"), layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.fastnn")
    loaded = fastnn.load_model(tmp_path / "model.fastnn")
    model.fit(x, y, verbose=0)
    loaded.fit(x, y, verbose=0)
    assert_same_models(model, loaded)


# ---- odd matrices ----


def changed(matrix, **arrays):
    """Return a copy with other arrays in it, which scipy has not checked."""
    matrix = matrix.copy()
    for name, values in arrays.items():
        setattr(matrix, name, values)
    return matrix


def unaligned(values):
    raw = np.zeros(values.nbytes + 1, np.uint8)[1:].view(values.dtype)
    raw[...] = values
    return raw


def apart(values):
    wide = np.zeros(2 * len(values), values.dtype)
    wide[::2] = values
    return wide[::2]


def readonly(values):
    values = values.copy()
    values.flags.writeable = False
    return values


def backwards(x):
    """Store the entries of each row from the last column to the first."""
    order = np.concatenate([np.arange(a, b)[::-1] for a, b in itertools.pairwise(x.indptr)])
    return sparse.csr_matrix((x.data[order], x.indices[order], x.indptr), x.shape)


def twice(x):
    """Store each entry as two halves, whose place is named twice."""
    return sparse.csr_matrix((np.repeat(x.data / 2, 2), np.repeat(x.indices, 2), x.indptr * 2), x.shape)


DENSE = np.random.default_rng(0).integers(-3, 4, (12, 6)) * (np.random.default_rng(1).random((12, 6)) < 0.4) / 4
CSR = sparse.csr_matrix(DENSE)
ODD = {
    f"{form} {kind}": getattr(sparse, f"{form}_{kind}")(DENSE)
    for form in ("csr", "csc", "coo", "lil", "dok", "dia", "bsr")
    for kind in ("matrix", "array")
} | {
    "int64 indices": changed(CSR, indices=CSR.indices.astype("i8"), indptr=CSR.indptr.astype("i8")),
    "uint32 indices": changed(CSR, indices=CSR.indices.astype("u4"), indptr=CSR.indptr.astype("u4")),
    "byte-swapped indices": changed(CSR, indices=CSR.indices.astype(">i4"), indptr=CSR.indptr.astype(">i4")),
    "unaligned indices": changed(CSR, indices=unaligned(CSR.indices), indptr=unaligned(CSR.indptr.astype("i8"))),
    "float32": CSR.astype("f4"),
    "byte-swapped values": changed(CSR, data=CSR.data.astype(">f4")),
    "unaligned values": changed(CSR, data=unaligned(CSR.data.astype("f4"))),
    "values apart": changed(CSR, data=apart(CSR.data.astype("f4"))),
    "longdouble": CSR.astype(np.longdouble),
    "readonly": changed(CSR, data=readonly(CSR.data.astype("f4")), indices=readonly(CSR.indices)),
    "unsorted": backwards(CSR),
    "entries of one place": twice(CSR),
    "entries of one place, unsorted": backwards(twice(CSR)),
    "coo entries of one place": twice(CSR).tocoo(),
    "zeros among the entries": changed(sparse.csr_matrix(DENSE + 9), data=DENSE.ravel()),
    "more memory than entries": changed(
        CSR, data=np.append(CSR.data, np.nan), indices=np.append(CSR.indices, np.int32(99)),
    ),
    "some rows of more": sparse.csr_matrix(np.vstack([DENSE, DENSE]))[12:],
    "blocks": sparse.bsr_matrix(DENSE, blocksize=(3, 2)),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_odd_matrices_are_read_as_dense_rows_are(kind):
    x = ODD[kind]
    before = [np.array(getattr(x, name)) for name in ("data", "indices", "indptr") if hasattr(x, name)]
    model = network(6)
    y = np.arange(12) % 3
    np.testing.assert_array_equal(model.predict(x), model.predict(DENSE))
    assert model.evaluate(x, y, verbose=0) == model.evaluate(DENSE, y, verbose=0)
    other = network(6)
    assert model.fit(x, y, batch_size=5, verbose=0).history == other.fit(DENSE, y, batch_size=5, verbose=0).history
    assert_same_models(model, other)
    if x.format != "dok":  # values that are objects
        after = [np.array(getattr(x, name)) for name in ("data", "indices", "indptr") if hasattr(x, name)]
        for ours, theirs in zip(after, before, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_whole_numbers_and_bools():
    for dtype in ("?", "i1", "u2", "i8"):
        x = (DENSE * 4).astype(dtype)
        np.testing.assert_array_equal(network(6).predict(sparse.csr_matrix(x)), network(6).predict(x.astype("f4")))


def one_wrong(values, wrong, at=1):
    values = np.array(values)
    values[at] = wrong
    return values


COO, CSC, BSR = CSR.tocoo(), CSR.tocsc(), sparse.bsr_matrix(DENSE, blocksize=(3, 2))
CONTRADICTIONS = {
    "column": (changed(CSR, indices=one_wrong(CSR.indices, 6)), "x's indices must lie between 0 and 5"),
    "column below 0": (changed(CSR, indices=one_wrong(CSR.indices, -1)), "x's indices must lie between 0 and 5"),
    "column of 64 bits": (
        changed(CSR, indices=one_wrong(CSR.indices.astype("i8"), 2**32)), "x's indices must lie between 0 and 5",
    ),
    "start": (changed(CSR, indptr=one_wrong(CSR.indptr, 100)), "x's indptr must rise from 0"),
    "start below 0": (changed(CSR, indptr=one_wrong(CSR.indptr, -2, 0)), "x's indptr must rise from 0"),
    "starts that fall": (changed(CSR, indptr=one_wrong(CSR.indptr, 0, 5)), "x's indptr must rise from 0"),
    "too few starts": (changed(CSR, indptr=CSR.indptr[:-1]), "x's indptr must hold 13 numbers, one more than rows"),
    "too few values": (changed(CSR, data=CSR.data[:-2]), "x's indices and data must be of one length"),
    "indices of floats": (changed(CSR, indices=CSR.indices.astype("f8")), "the first two of integers"),
    "coo row": (changed(COO, row=one_wrong(COO.row, 12)), "x's row must lie between 0 and 11"),
    "coo column": (changed(COO, col=one_wrong(COO.col, -1)), "x's col must lie between 0 and 5"),
    "csc row": (changed(CSC, indices=one_wrong(CSC.indices, 12)), "x's indices must lie between 0 and 11"),
    "csc start": (changed(CSC, indptr=one_wrong(CSC.indptr, 10**6)), "x's indptr must rise from 0"),
    "csc starts": (changed(CSC, indptr=CSC.indptr[:-1]), "x's indptr must rise from 0"),
    "csc values": (changed(CSC, data=CSC.data[:-2]), "x's indptr must rise from 0"),
    "bsr column": (changed(BSR, indices=one_wrong(BSR.indices, 3)), "x's indices must lie between 0 and 2"),
    "bsr start": (changed(BSR, indptr=one_wrong(BSR.indptr, 50)), "x's indptr must rise from 0"),
    "objects": (changed(CSR, data=CSR.data.astype(object)), "x must hold real numbers, got a sparse matrix of"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_matrices_that_contradict_themselves_get_one_sentence_before_scipy_converts_them(kind):
    x, sentence = CONTRADICTIONS[kind]
    for run in (network(6).predict, lambda x: network(6).fit(x, np.zeros(12), verbose=0)):
        with pytest.raises((TypeError, ValueError), match=sentence):
            run(x)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil"])
def test_a_missing_number_among_the_entries_is_named_by_its_row(form):
    x = DENSE.copy()
    x[7, 2] = np.nan
    with pytest.raises(ValueError, match=r"^x must be finite, but row 7 holds a NaN"):
        network(6).fit(sparse.csr_matrix(x).asformat(form), np.zeros(12), verbose=0)
