"""Missing values: what Impute fills in, where NaN is allowed because of it, and adapt on data larger than memory."""

import tracemalloc

import numpy as np
import pytest

import fastnn
from fastnn import layers

NAN = np.nan
X = np.array([[1.0, NAN, 5.0], [3.0, 4.0, NAN], [NAN, 4.0, 7.0], [8.0, 1.0, 5.0]])
CENTERS = {
    "median": np.nanmedian(X, axis=0),
    "mean": np.nanmean(X, axis=0),
    "most_frequent": np.array([1.0, 4.0, 5.0]),
    "constant": np.zeros(3),
}


def adapted(strategy="median", x=X, **given):
    layer = layers.Impute(strategy, **given)
    if strategy != "constant":
        layer.adapt(x)
    return layer


def filled(x, centers, *, indicator=False):
    y = np.where(np.isnan(x), centers, x)
    return np.hstack([y, np.isnan(x)]) if indicator else y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("strategy", CENTERS)
def test_each_strategy_fills_its_value_in(strategy, indicator, dtype, tmp_path):
    layer = adapted(strategy, add_indicator=indicator)
    wanted = filled(X, CENTERS[strategy], indicator=indicator).astype(dtype)
    np.testing.assert_allclose(layer(X), wanted, rtol=1e-6)
    model = fastnn.Sequential([fastnn.Input((3,), dtype=dtype), layer])
    found = model.predict(X)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    np.testing.assert_array_equal(model.freeze()(X.astype(dtype)), found)
    model.save(tmp_path / "model.fastnn")
    loaded = fastnn.load_model(tmp_path / "model.fastnn")
    np.testing.assert_array_equal(loaded.predict(X), found)
    assert loaded.layers[-1].get_config() == layer.get_config()


@pytest.mark.thread_unsafe(reason="sets the number of threads of the process")
@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("threads", [1, 2])
def test_many_rows_and_columns_with_holes(rows, threads):
    generator = np.random.default_rng(rows)
    x = generator.normal(size=(rows, 67)).astype(np.float32)
    x[generator.random(x.shape) < 0.3] = NAN
    fill = generator.normal(size=67)
    model = fastnn.Sequential([fastnn.Input((67,)), layers.Impute("constant", fill, add_indicator=True)])
    with fastnn.num_threads(threads):
        np.testing.assert_array_equal(model.predict(x), filled(x, fill.astype(np.float32), indicator=True))


def regression(*stack):
    model = fastnn.Sequential([*stack, layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    return model


def test_a_network_trains_on_what_was_filled_in_before():
    y = np.arange(4.0)
    impute = adapted(add_indicator=True)
    normalization = layers.Normalization()
    normalization.adapt(impute(X))
    whole = regression(fastnn.Input((3,)), impute, normalization)
    apart = regression(fastnn.Input((6,)), layers.deserialize(layers.serialize(normalization)))
    apart.layers[1].adapt(impute(X))
    for model, x in ((whole, X), (apart, impute(X))):
        model.fit(x, y, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_array_equal(whole.layers[-1].kernel, apart.layers[-1].kernel)
    assert np.isfinite(whole.evaluate(X, y, verbose=0))


def test_none_among_objects_is_missing():
    rows = [[1.0, None, 5.0], [3.0, 4.0, None], [None, 4.0, 7.0], [8.0, 1.0, 5.0]]
    layer = adapted(x=rows)
    assert layer.fill_value == tuple(CENTERS["median"])
    model = regression(fastnn.Input((3,)), layer)
    model.fit(rows, np.zeros(4), verbose=0)
    np.testing.assert_array_equal(model.predict(rows), model.predict(X))
    np.testing.assert_array_equal(model.freeze()(rows), model.predict(X))
    np.testing.assert_array_equal(model.freeze()(rows[0]), model.predict(X)[0])


def test_frames_with_holes():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, None, 3], "b": pandas.array([1, None, 7], "Int64")})
    layer = adapted(x=frame, add_indicator=True)
    model = fastnn.Sequential([fastnn.Input((2,)), layer])
    np.testing.assert_array_equal(model.predict(frame), [[1, 1, 0, 0], [2, 4, 1, 1], [3, 7, 0, 0]])


def branched():
    model = fastnn.Sequential(
        [
            layers.Branches({"age": [adapted(x=[20.0, NAN, 40.0])], "income": [layers.Normalization()]}),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    return model


def test_one_branch_may_lack_values_and_another_may_not():
    y = np.zeros(3)
    holes = {"age": [NAN, 1.0, 2.0], "income": [1.0, 2.0, 3.0]}
    model = branched()
    model.fit(holes, y, verbose=0)
    matrix = np.column_stack(list(holes.values()))
    np.testing.assert_array_equal(model.predict(holes), model.predict(matrix))
    model.fit(matrix, y, verbose=0)
    objects = {"age": [None, 1.0, 2.0], "income": [1.0, 2.0, 3.0]}
    for read in (model.predict, model.freeze()):
        np.testing.assert_array_equal(read(objects), model.predict(holes))
    np.testing.assert_array_equal(model.freeze()(matrix.astype(np.float32)), model.predict(matrix))
    wrong = {"age": [1.0, 1.0, 2.0], "income": [1.0, NAN, 3.0]}
    with pytest.raises(ValueError, match=r"x\['income'\] must be finite, but row 1"):
        model.fit(wrong, y, verbose=0)
    with pytest.raises(ValueError, match="x must be finite, but row 1"):
        model.fit(np.column_stack(list(wrong.values())), y, verbose=0)


@pytest.mark.parametrize("action", ["fit", "evaluate", "train_on_batch"])
def test_an_infinity_is_no_missing_value(action):
    model = regression(fastnn.Input((3,)), adapted())
    x = X.copy()
    x[2, 1] = np.inf
    before = model.get_weights()
    with pytest.raises(ValueError, match="x must be finite or, where missing, NaN, but row 2 holds an infinity"):
        getattr(model, action)(x, np.zeros(4))
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


def test_without_the_layer_a_nan_is_refused_as_before():
    with pytest.raises(ValueError, match="x must be finite, but row 0 holds a NaN"):
        regression(fastnn.Input((3,)), layers.Dense(3)).fit(X, np.zeros(4), verbose=0)


def test_missing_values_have_no_gradient():
    model = regression(fastnn.Input((3,)), adapted(), layers.Dense(2, kernel_initializer="ones"))
    model.forward(X)
    gradient = model.backward(np.ones((4, 1)))
    np.testing.assert_array_equal(gradient, np.where(np.isnan(X), 0, 2))


# ---- some of the columns ----


def test_columns_that_are_taken_are_filled_and_others_stay(tmp_path):
    layer = layers.Impute(add_indicator=True, columns=[2, 0])
    layer.adapt(X)
    assert layer.fill_value == (3.0, 5.0)  # in the order of the input
    x = np.where(np.isnan(X[:, 1:2]), 9.0, X)
    wanted = np.hstack([x[:, [1]], filled(x[:, [0, 2]], [3.0, 5.0], indicator=True)])
    np.testing.assert_array_equal(layer(x), wanted)
    model = fastnn.Sequential([fastnn.Input((3,), dtype="float64"), layer])
    np.testing.assert_array_equal(model.predict(x), wanted)
    np.testing.assert_array_equal(model.freeze()(x), wanted)
    again = fastnn.Sequential.from_config(model.get_config())
    assert again.layers[-1].columns == (2, 0)
    np.testing.assert_array_equal(again.predict(x), wanted)


def test_a_missing_value_in_a_column_that_is_not_taken_is_refused():
    y = np.zeros(4)
    layer = layers.Impute("constant", columns=[0, 1])
    model = regression(fastnn.Input((3,)), layer)
    before = model.get_weights()
    with pytest.raises(ValueError, match="x must be finite, but row 1 holds a NaN"):
        model.fit(X, y, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    model.fit(np.where(np.isnan(X), [NAN, NAN, 0], X), y, verbose=0)


@pytest.mark.parametrize("indicator", [False, True])
@pytest.mark.parametrize("framed", [False, True])
def test_layers_one_after_the_other_fill_columns_of_their_own(framed, indicator):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    columns = [["c"], ["a", "b"]] if framed else [[2], [0, 1]]
    first, second = (layers.Impute(way, None, indicator, c) for way, c in zip(("mean", "median"), columns, strict=True))
    first.adapt(frame if framed else X)
    second.adapt(frame if framed else X)
    start = [] if framed else [fastnn.Input((3,))]
    model = regression(*start, fastnn.Sequential([first]), second)
    values = frame if framed else X
    model.fit(values, np.zeros(4), verbose=0)
    assert np.isfinite(model.predict(values)).all()
    wrong = np.where(X == 4.0, np.inf, X)
    with pytest.raises(ValueError, match="holds an infinity"):
        model.evaluate(wrong, np.zeros(4), verbose=0)


def test_a_branch_fills_some_of_its_columns():
    layer = layers.Impute("constant", columns=[1])
    model = fastnn.Sequential([layers.Branches({("a", "b"): [layer], "c": []}), layers.Dense(1)])
    model.compile("sgd", "mse")
    good = {"a": [1.0, 2.0], "b": [NAN, 1.0], "c": [0.0, 1.0]}
    model.fit(good, np.zeros(2), verbose=0)
    model.fit(np.column_stack(list(good.values())), np.zeros(2), verbose=0)
    for name, row in (("a", 1), ("c", 0)):
        wrong = good | {name: np.where(np.arange(2) == row, NAN, good[name])}
        with pytest.raises(ValueError, match=rf"x\['{name}'\] must be finite, but row {row}"):
            model.fit(wrong, np.zeros(2), verbose=0)
        with pytest.raises(ValueError, match=f"x must be finite, but row {row}"):
            model.fit(np.column_stack(list(wrong.values())), np.zeros(2), verbose=0)


BAD = {
    "unknown": (lambda: layers.Impute("medium"), ValueError, "strategy 'medium' is unknown; did you mean 'median'"),
    "text": (lambda: layers.Impute("constant", "a"), TypeError, "fill_value must be a real number"),
    "infinite": (lambda: layers.Impute("constant", np.inf), ValueError, "fill_value must be a finite number"),
    "unadapted": (
        lambda: fastnn.Sequential([fastnn.Input((3,)), layers.Impute()]).predict(X), ValueError, "call adapt before"
    ),
    "width": (lambda: fastnn.Sequential([fastnn.Input((4,)), adapted()]), ValueError, "for 3 columns, and takes 4"),
    "constant": (lambda: layers.Impute("constant").adapt(X), ValueError, "adapt.. would have no effect"),
    "hollow": (lambda: layers.Impute().adapt([[1.0, NAN], [2.0, NAN]]), ValueError, "column 1 has none"),
    "inf": (lambda: layers.Impute().adapt([[1.0], [np.inf]]), ValueError, "row 1 is in column 0"),
    "rows": (lambda: layers.Impute().adapt(np.zeros((0, 3))), ValueError, "at least one row"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    make, error, message = BAD[case]
    with pytest.raises(error, match=message):
        make()


# ---- adapt on a file ----


@pytest.mark.parametrize(
    ("make", "result"),
    [
        (layers.Normalization, lambda layer: [layer._mean, layer._variance]),
        (layers.Impute, lambda layer: layer.fill_value),
        (lambda: layers.Impute("mean"), lambda layer: layer.fill_value),
        (lambda: layers.Discretization(num_bins=7), lambda layer: layer.bin_boundaries),
        (layers.IntegerLookup, lambda layer: layer.vocabulary),
    ],
    ids=["normalization", "median", "mean", "discretization", "lookup"],
)
def test_adapt_reads_a_file_in_pieces(make, result, tmp_path, monkeypatch):
    rows, columns = 40_000, 16
    x = np.random.default_rng(0).integers(0, 50, (rows, columns)).astype(np.float32)
    stored = np.memmap(tmp_path / "x", np.float32, "w+", shape=x.shape)
    stored[...] = x
    pieces = fastnn.data.frames.row_pieces
    for module in ("_columns", "categories", "lookup"):
        monkeypatch.setattr(f"fastnn.layers.{module}.row_pieces", lambda array: pieces(array, 2**14))
    monkeypatch.setattr("fastnn.layers.categories.PIECE", 2**14)
    monkeypatch.setattr("fastnn.layers._columns._TOGETHER", 2**15)
    layer = make()
    tracemalloc.start()
    layer.adapt(stored)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes
    monkeypatch.undo()
    whole = make()
    whole.adapt(x)
    np.testing.assert_allclose(result(layer), result(whole), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_boundaries_found_in_pieces_are_those_of_sorted_numbers(dtype, monkeypatch):
    x = (1000 * np.random.default_rng(0).normal(size=(3000, 2))).astype(dtype)
    x[:500] = 0
    whole, pieces = (layers.Discretization(num_bins=11) for _ in range(2))
    whole.adapt(x)
    monkeypatch.setattr("fastnn.layers.categories.PIECE", 0)
    pieces.adapt(x)
    assert pieces.bin_boundaries == whole.bin_boundaries


def test_a_bad_row_of_a_later_piece_is_named():
    x = np.zeros((2**20 + 5, 1))
    x[-2] = NAN
    with pytest.raises(ValueError, match=f"row {2**20 + 3} holds nan"):
        layers.Normalization().adapt(x)
    with pytest.raises(ValueError, match=f"row {2**20 + 3} holds nan"):
        layers.IntegerLookup().adapt(x)
