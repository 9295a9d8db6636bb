"""Layers that are adapted to the batches of a generator or of a loader, as if these were one array or frame."""

import itertools

import numpy as np
import pandas
import polars
import pytest

from fastnn import layers
from fastnn.data.feeds import gathered

X = np.random.default_rng(0).normal(size=(30, 3))
TEXT = np.random.default_rng(0).choice(["a", "b", "c"], (30, 3)).astype(object)
FRAME = pandas.DataFrame(X, columns=list("pqr"))
LIMITS = (0, 7, 8, 30)


def pieces(data):
    return (data[first:end] for first, end in itertools.pairwise(LIMITS))


class Loader:
    """A source of batches with a length, each of x and y."""

    def __len__(self):
        return 3

    def __getitem__(self, k):
        return X[LIMITS[k] : LIMITS[k + 1]], np.zeros(1)


# Layers that are adapted, and what they are adapted to.
LAYERS = {
    "Normalization": (layers.Normalization, X),
    "RobustNormalization": (layers.RobustNormalization, X),
    "QuantileNormalization": (lambda: layers.QuantileNormalization(9), X),
    "PiecewiseLinearEncoding": (lambda: layers.PiecewiseLinearEncoding(4), X),
    "Impute": (layers.Impute, np.where(X > 1, np.nan, X)),
    "Discretization": (lambda: layers.Discretization(num_bins=4), X),
    "TargetScaling": (layers.TargetScaling, X),
    "CategoricalEmbedding": (layers.CategoricalEmbedding, TEXT),
    "StringLookup": (layers.StringLookup, TEXT),
    "IntegerLookup": (layers.IntegerLookup, (4 * X).astype(np.int64)),
}


def learned(layer):
    known = layer.get_vocabulary() if hasattr(layer, "get_vocabulary") else layer.get_config()
    return known if not isinstance(layer, layers.Normalization) else (layer.mean.tolist(), layer.variance.tolist())


@pytest.mark.parametrize("name", LAYERS)
def test_batches_count_as_one_array(name):
    make, data = LAYERS[name]
    whole, parts = make(), make()
    whole.adapt(data)
    parts.adapt(pieces(data))
    assert learned(parts) == learned(whole)


@pytest.mark.parametrize("of", [lambda frame: frame, polars.from_pandas], ids=["pandas", "polars"])
@pytest.mark.parametrize("columns", [None, ["r", "p"]])
def test_frames_of_batches_have_names(of, columns):
    whole, parts = layers.RobustNormalization(columns), layers.RobustNormalization(columns)
    whole.adapt(of(FRAME))
    parts.adapt(pieces(of(FRAME)))
    assert (parts.center, parts.factor) == (whole.center, whole.factor)
    assert parts._column_names == ("p", "q", "r")


def test_loaders_give_x_and_y():
    whole, parts = layers.Normalization(), layers.Normalization()
    whole.adapt(X)
    parts.adapt(Loader())
    assert learned(parts) == learned(whole)


def test_text_beside_numbers_stays_what_it_is():
    found = gathered(iter([np.array(["a", "bcd"]), np.array([1, 2])]), "data")
    assert found.tolist() == ["a", "bcd", 1, 2]


BAD = {
    "no batch": (lambda: iter([]), ValueError, "data must give at least one batch, but the list_iterator gives none"),
    "widths": (lambda: iter([X, X[:, :2]]), ValueError, r"one shape, got \(30, 3\) and as batch 1 \(30, 2\)"),
    "numbers": (lambda: iter([1.0, 2.0]), ValueError, "must give batches of rows of one shape"),
    "names": (
        lambda: iter([FRAME, FRAME[["p", "q"]]]),
        ValueError,
        "the same columns, got 'p', 'q', 'r' and as batch 1",
    ),
    "libraries": (
        lambda: iter([FRAME, polars.from_pandas(FRAME)]),
        TypeError,
        "and of one of them, got .'pandas', 'po",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_batches_that_do_not_fit_together_are_refused(case):
    make, error, message = BAD[case]
    layer = layers.RobustNormalization()
    with pytest.raises(error, match=message):
        layer.adapt(make())
    assert layer.center is None
