"""RobustNormalization, QuantileNormalization, PiecewiseLinearEncoding: what they adapt to, beside other packages."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pandas
import pytest
from sklearn.preprocessing import QuantileTransformer

import fastnn
from fastnn import layers

with np.load(Path(__file__).parent / "reference" / "columns.npz") as file:
    RECORDED = {key: file[key] for key in file.files}
FITTED, X = RECORDED["fitted"], RECORDED["x"]
KINDS = (layers.RobustNormalization, layers.QuantileNormalization, layers.PiecewiseLinearEncoding)
CONSTANTS = {
    "RobustNormalization": ("center", "factor"),
    "QuantileNormalization": ("knots",),
    "PiecewiseLinearEncoding": ("bin_edges",),
}


def adapted(kind, *data, **arguments):
    layer = kind(**arguments)
    layer.adapt(*data)
    return layer


def alone(layer, width=5, dtype="float64"):
    return fastnn.Sequential([layers.Input((width,), dtype=dtype), layer])


def constants(layer):
    return [
        np.concatenate([np.ravel(part) for part in getattr(layer, name)]) for name in CONSTANTS[type(layer).__name__]
    ]


# ---- beside other packages ----


def test_realmlp_prepares_numbers_as_pytabkit_does():
    layer = adapted(layers.RobustNormalization, FITTED)
    assert layer.factor[3] == 2.0  # the quartiles are equal, the range is 1
    assert layer.factor[4] == 0.0
    # 1e-6: pytabkit computes quantiles in float32
    np.testing.assert_allclose(alone(layer).predict(X), RECORDED["prepared"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("quantiles", [2, 10, 100, 1000])
@pytest.mark.filterwarnings("ignore:n_quantiles")
def test_quantiles_are_those_of_scikit_learn(quantiles):
    theirs = QuantileTransformer(n_quantiles=quantiles, output_distribution="normal", subsample=None).fit(FITTED)
    ours = adapted(layers.QuantileNormalization, FITTED, quantiles=quantiles)
    np.testing.assert_allclose(ours.knots, theirs.quantiles_.T, rtol=1e-12, atol=1e-12)
    x = np.vstack([X, FITTED])[:, :4]
    given = alone(layers.QuantileNormalization(knots=theirs.quantiles_.T[:4]), 4).predict(x)
    wanted = theirs.transform(np.column_stack([x, np.zeros(len(x))]))[:, :4]
    np.testing.assert_allclose(given, wanted, rtol=1e-9, atol=1e-9)
    # with as many quantiles as rows, scikit-learn's places of equal numbers are rounded
    alike = slice(0, 2) if quantiles > 100 else slice(0, 4)
    ours = alone(ours).predict(np.column_stack([x, np.full(len(x), 7.0)]))
    np.testing.assert_allclose(ours[:, alike], wanted[:, alike], rtol=1e-9, atol=1e-9)
    assert (ours[:, 4] == 0).all()  # a constant column, which scikit-learn makes -5.2


def recorded_edges(way):
    return [RECORDED[f"{way}/edges{k}"] for k in range(4)]


@pytest.mark.parametrize("way", ["quantiles", "classes", "numbers"])
def test_bins_are_those_of_rtdl_num_embeddings(way):
    layer = adapted(layers.PiecewiseLinearEncoding, FITTED[:, :4], RECORDED.get(way), bins=6)
    for ours, theirs in zip(layer.bin_edges, recorded_edges(way), strict=True):
        # float32: the places of its quantiles, and the splits of trees; equal numbers become several edges
        theirs = np.unique(theirs.astype(np.float32).round(4))
        np.testing.assert_allclose(np.unique(np.round(ours, 4)), theirs, rtol=1e-4, atol=1e-4)
    given = alone(layers.PiecewiseLinearEncoding(bin_edges=recorded_edges(way)), 4)
    # 1e-6: the widths of their bins were in float32
    np.testing.assert_allclose(given.predict(X[:, :4]), RECORDED[f"{way}/y"], rtol=1e-6, atol=1e-6)


def placed(edges, theirs):
    """Return maps of rtdl_num_embeddings, which has a column's last bin last, with the bins of each column first."""
    ours = np.zeros_like(theirs)
    for column, (own, given) in zip(edges, zip(ours, theirs, strict=True), strict=True):
        bins = len(column) - 1
        own[: bins - 1], own[bins - 1] = given[: bins - 1], given[-1]
    return ours.reshape(-1, theirs.shape[-1])


@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("way", ["quantiles", "classes", "numbers"])
def test_maps_of_bins_are_those_of_rtdl_num_embeddings(way, activation):
    edges = recorded_edges(way)
    kernel, bias, upstream, y, dkernel, dbias, dx = (
        RECORDED[f"{way}/{activation}/{part}"] for part in ("kernel", "bias", "upstream", "y", "dkernel", "dbias", "dx")
    )
    layer = layers.PiecewiseLinearEncoding(units=3, activation=activation, bin_edges=edges)
    model = alone(layer, 4)
    model.set_weights([placed(edges, kernel), bias.ravel()])
    close = {"rtol": 1e-6, "atol": 1e-5}  # the widths of their bins were in float32
    np.testing.assert_allclose(model.forward(X[:, :4]), y, **close)
    on_an_edge = np.stack(
        [np.isclose(x[:, None], own).any(axis=1) for x, own in zip(X.T[:4], edges, strict=True)], axis=1
    )
    ours = model.backward(upstream)
    np.testing.assert_allclose(ours[~on_an_edge], dx[~on_an_edge], **close)
    np.testing.assert_allclose(model.gradients[0], placed(edges, dkernel), **close)
    np.testing.assert_allclose(model.gradients[1], dbias.ravel(), **close)


@pytest.mark.parametrize("linear", [False, True])
def test_maps_of_bins_start_as_in_their_papers(linear):
    edges = [[0.0, 1.0, 2.0, 3.0], [0.0, 1.0]]
    layer = layers.PiecewiseLinearEncoding(units=50, linear=linear, bin_edges=edges)
    model = alone(layer, 2)
    kernel, bias = layer.get_weights()
    limit = 50**-0.5 if linear else 3**-0.5
    drawn = np.append(kernel[::4] if linear else kernel, bias)
    assert np.abs(drawn).max() <= limit
    assert np.abs(drawn).max() > 0.9 * limit
    if linear:
        assert (kernel.reshape(2, 4, 50)[:, 1:] == 0).all()
        x = X[:, :2]
        np.testing.assert_allclose(
            model.predict(x), (x[:, :, None] * kernel[::4] + bias.reshape(2, 50)).reshape(-1, 100)
        )


# ---- what is found ----


def test_quantiles_of_few_rows_are_the_rows():
    layer = adapted(layers.QuantileNormalization, [[3.0], [1.0], [2.0]])
    np.testing.assert_array_equal(layer.knots, [[1, 2, 3]])
    assert layer.quantiles == 1000
    np.testing.assert_array_equal(adapted(layers.QuantileNormalization, [[3.0]]).knots, [[3]])


def test_quantiles_of_equal_numbers_are_equal():
    """The places that numpy.quantile rounds make some of them 1.9999999999999998."""
    numbers = np.repeat(np.arange(5.0), 20)[:, None]
    for count in range(2, 100):
        knots = adapted(layers.QuantileNormalization, numbers, quantiles=count).knots[0]
        np.testing.assert_allclose(knots, np.quantile(numbers, np.linspace(0, 1, count)), rtol=1e-12, atol=1e-13)
        assert (np.diff(knots) >= 0).all()
        gaps = np.diff(np.unique(knots))
        assert gaps.min() > 1e-3  # between two numbers a knot lies at a fraction of at most 99 parts


def test_noise_spreads_equal_numbers_by_a_share_of_their_deviation():
    numbers = np.column_stack([np.repeat([0.0, 1.0], 500), np.repeat([0.0, 1e6], 500)])
    layer = adapted(layers.QuantileNormalization, numbers, noise=1e-3, seed=5)
    again = adapted(layers.QuantileNormalization, numbers, noise=1e-3, seed=5)
    np.testing.assert_array_equal(layer.knots, again.knots)
    other = adapted(layers.QuantileNormalization, numbers, noise=1e-3, seed=6)
    assert (layer.knots != other.knots).all()
    assert (np.diff(layer.knots) > 0).all()
    # half of the normal distribution lies around -0.67, half around 0.67: the medians of its halves
    y = alone(layer, 2).predict(np.array([[0.0, 0.0], [1.0, 1e6]]))
    np.testing.assert_allclose(y, [[-0.67, -0.67], [0.67, 0.67]], atol=0.1)
    fastnn.utils.set_random_seed(1)
    drawn = adapted(layers.QuantileNormalization, numbers, noise=1e-3)
    fastnn.utils.set_random_seed(1)
    np.testing.assert_array_equal(drawn.knots, adapted(layers.QuantileNormalization, numbers, noise=1e-3).knots)


def test_bins_of_a_constant_column_are_one_that_passes_changes_on():
    for y in (None, np.arange(4) % 2):
        layer = adapted(layers.PiecewiseLinearEncoding, np.full((4, 1), 3.0), y)
        assert layer.bin_edges == ((3.0, 4.0),)
        np.testing.assert_array_equal(alone(layer, 1).predict([[3.0], [5.0]]), [[0.0], [2.0]])


@pytest.mark.parametrize(
    "y", [["a", "b"] * 100, [False, True] * 100, [[0], [1]] * 100], ids=["text", "bools", "column"]
)
def test_a_tree_tells_classes_of_any_kind(y):
    x = np.tile([0.0, 1.0], 100)[:, None] + np.repeat([0.0, 5.0], 100)[:, None]
    y = np.asarray(y)
    layer = layers.PiecewiseLinearEncoding(4)
    layer.adapt(x, y, min_samples_leaf=10)
    assert layer.bin_edges == ((0.0, 0.5, 3.0, 5.5, 6.0),)
    layer = layers.PiecewiseLinearEncoding(1)
    layer.adapt(x, y)
    assert layer.bin_edges == ((0.0, 6.0),)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_adapted_to_frames_arrays_and_files(kind, dtype, tmp_path):
    whole = constants(adapted(kind, FITTED.astype(dtype)))
    frame = pandas.DataFrame(FITTED.astype(dtype), columns=list("abcde"))
    np.save(tmp_path / "x.npy", FITTED.astype(dtype))
    for data in (frame, FITTED.astype(dtype).tolist(), np.load(tmp_path / "x.npy", mmap_mode="r")):
        for ours, wanted in zip(constants(adapted(kind, data)), whole, strict=True):
            np.testing.assert_array_equal(ours, wanted)
    some = constants(adapted(kind, FITTED[:, [1, 3]].astype(dtype)))
    moved = frame[["e", "d", "c", "b", "a"]].assign(c="text", e=None)
    by_index = adapted(kind, FITTED.astype(dtype), columns=[3, 1])
    by_name = adapted(kind, moved, columns=["b", "d"])
    for ours, wanted in zip(constants(by_index), some, strict=True):
        np.testing.assert_array_equal(ours, wanted)
    for ours, wanted in zip(constants(by_name), constants(adapted(kind, moved[["d", "b"]])), strict=True):
        np.testing.assert_array_equal(ours, wanted)


def test_many_rows_are_looked_at_a_few_columns_at_a_time(monkeypatch):
    whole = [constants(adapted(kind, FITTED)) for kind in KINDS]
    monkeypatch.setattr("fastnn.layers._columns._TOGETHER", 2 * len(FITTED))
    for kind, wanted in zip(KINDS, whole, strict=True):
        np.testing.assert_array_equal(constants(adapted(kind, FITTED)), wanted)


# ---- in models ----


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapted_layer_is_kept_by_files_pickles_and_copies(kind, tmp_path):
    frame = pandas.DataFrame(FITTED, columns=list("abcde"))
    layer = adapted(kind, frame, columns=["b", "d"])
    model = fastnn.Sequential([layer, layers.Dense(3, "relu"), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(frame, RECORDED["numbers"], epochs=2, verbose=0)
    model.save(tmp_path / "model.fastnn")
    y = model.predict(frame)
    again = fastnn.Sequential.from_config(model.get_config())
    again.build((None, 5))
    again.set_weights(model.get_weights())
    moved = frame[list("dcbea")]
    for other in (
        fastnn.load_model(tmp_path / "model.fastnn"),
        pickle.loads(pickle.dumps(model)),
        again,
        model.freeze(),
    ):
        np.testing.assert_array_equal(other(moved), y)
    for ours, wanted in zip(constants(copy.deepcopy(layer)), constants(layer), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    with pytest.raises(ValueError, match=r"^layer '\w+' belongs to a model that is built: call adapt before$"):
        layer.adapt(frame)
    lines = []
    model.summary(lines.append)
    assert any(kind.__name__ in line for line in lines)


@pytest.mark.parametrize("kind", KINDS)
def test_an_ensemble_of_members_that_are_adapted_alike_is_trained_as_each_alone(kind):
    def member(seed):
        fastnn.utils.set_random_seed(seed)
        model = fastnn.Sequential([layers.Input((5,)), adapted(kind, FITTED), layers.Dense(1)])
        model.compile("adam", "mse")
        return model

    ensemble = fastnn.Ensemble([member(1), member(2)])
    ensemble.fit(FITTED, RECORDED["numbers"], epochs=2, verbose=0)
    for seed, model in zip((1, 2), ensemble.models, strict=True):
        single = member(seed)
        single.fit(FITTED, RECORDED["numbers"], epochs=2, verbose=0)
        for ours, wanted in zip(model.get_weights(), single.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_with_a_layer_that_is_not_adapted_is_built_once_it_is(kind):
    layer = kind()
    model = alone(layer)
    assert not model.built
    with pytest.raises(ValueError, match=r"has no \w+ yet: call adapt before the model is built$"):
        model.predict(X)
    layer.adapt(FITTED)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_nan_stays_one_in_its_column(kind):
    x = X.copy()
    x[0, 1] = np.nan
    y = alone(adapted(kind, FITTED)).predict(x)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    encoded = alone(layers.PiecewiseLinearEncoding(bin_edges=[[0.0, 1.0, 2.0]] * 2), 2).predict([[np.nan, 0.5]])
    np.testing.assert_array_equal(encoded, [[np.nan, 0.0, 0.5, 0.0]])


def test_columns_of_another_order_than_those_that_a_later_layer_was_adapted_to_are_refused():
    frame = pandas.DataFrame(FITTED, columns=list("abcde"))
    later = adapted(layers.RobustNormalization, frame[list("edcba")], columns=["b", "d"])
    model = fastnn.Sequential([layers.PiecewiseLinearEncoding(columns=["c"], bin_edges=[[0.0, 1.0, 2.0]]), later])
    model.feature_names = list("abcde")
    with pytest.raises(ValueError, match=r"was adapted to the columns 'd', 'b', and takes 'b', 'd': adapt it again"):
        model.build((5,))
    later.adapt(frame)
    model.build((5,))
    rest = np.delete(FITTED, 2, axis=1)
    rest[:, [1, 2]] = alone(adapted(layers.RobustNormalization, FITTED[:, [1, 3]]), 2).predict(FITTED[:, [1, 3]])
    np.testing.assert_allclose(model.predict(frame)[:, :4], rest, rtol=1e-5, atol=1e-6)


# ---- errors ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([[1.0, np.nan]], "data must be finite, but row 0 holds nan in column 1"),
        ([[1.0, 2.0], [np.inf, 1.0]], "data must be finite, but row 1 holds inf in column 0"),
        (pandas.DataFrame({"a": [1.0], "b": ["text"]}), r"data\['b'\] must hold real numbers, got text: row 0 holds "),
        (np.zeros((0, 2)), r"data must have shape \(rows, features\) and at least one row, got \(0, 2\)"),
        (np.zeros((2, 2, 2)), r"data must have shape \(rows, features\) and at least one row, got \(2, 2, 2\)"),
        ([[-1e308], [1e308]], "data must have differences within float64's range: scale column 0 down first"),
    ],
)
def test_data_that_cannot_be_used_are_refused_and_change_nothing(kind, data, message):
    layer = kind()
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        layer.adapt(data)
    assert all(getattr(layer, name) is None for name in CONSTANTS[kind.__name__])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.RobustNormalization(clip=0), "clip must be greater than 0, got 0"),
        (
            lambda: layers.RobustNormalization(center=[1.0]),
            "factor is missing: give both center and factor, or neither",
        ),
        (
            lambda: layers.RobustNormalization(center=[1.0], factor=[1.0, 2.0]),
            "center and factor must be of one length",
        ),
        (lambda: layers.RobustNormalization(center=1.0, factor=1.0), "center must be a list of finite numbers, one a "),
        (lambda: layers.QuantileNormalization(0), "quantiles must be at least 1, got 0"),
        (lambda: layers.QuantileNormalization(noise=-1), "noise must be at least 0, got -1"),
        (lambda: layers.QuantileNormalization(knots=[[1.0, 0.0]]), "knots must be finite numbers of shape "),
        (lambda: layers.PiecewiseLinearEncoding(0), "bins must be at least 1, got 0"),
        (
            lambda: layers.PiecewiseLinearEncoding(bin_edges=[[1.0]]),
            r"bin_edges\[0\] must be at least two finite numbers",
        ),
        (
            lambda: layers.PiecewiseLinearEncoding(bin_edges=[[1.0, 1.0]]),
            r"bin_edges\[0\] must be at least two finite ",
        ),
        (lambda: layers.PiecewiseLinearEncoding(bin_edges=[]), "bin_edges must be the edges of at least one column"),
        (lambda: layers.PiecewiseLinearEncoding(bin_edges=3), "bin_edges must be a list of lists of numbers, one a "),
        (lambda: layers.PiecewiseLinearEncoding(linear=True), "linear is of the map that units make: give units too"),
        (lambda: layers.PiecewiseLinearEncoding(activation="relu"), "activation is of the map that units make: give "),
        (lambda: layers.PiecewiseLinearEncoding(units=2, activation="softmax"), "activation must work element by "),
        (lambda: adapted(layers.PiecewiseLinearEncoding, [[1.0]], [1, 2]), r"y must have shape \(1,\), one value for "),
        (lambda: adapted(layers.PiecewiseLinearEncoding, [[1.0]], [np.nan]), "y must be finite, but row 0 holds a NaN"),
        (
            lambda: alone(adapted(layers.RobustNormalization, FITTED), 4),
            "layer 'robust_normalization' has center for 5 ",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        make()
