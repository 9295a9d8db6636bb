"""Weights of rows and of classes: what they count for, and which are not right."""

import numpy as np
import pytest
from classifier import X, Y, network, same

import fastnn
from fastnn import layers
from fastnn.data import row_weights

pytestmark = pytest.mark.thread_unsafe(reason="sets the seed that the process's models start from")


def test_a_weight_of_two_is_a_row_given_twice_where_the_batch_is_one():
    weights = np.where(np.arange(20) < 5, 2.0, 1.0)
    weighted, repeated = (network(optimizer=fastnn.optimizers.SGD(0.5)) for _ in range(2))
    twice = np.r_[0:20, 0:5]
    # A weighted loss is divided by the number of rows, as in Keras: 20 here, 25 there.
    repeated.optimizer.learning_rate *= 25 / 20
    weighted.fit(X, Y, batch_size=20, epochs=3, sample_weight=weights, verbose=0, shuffle=False)
    repeated.fit(X[twice], Y[twice], batch_size=25, epochs=3, verbose=0, shuffle=False)
    for a, b in zip(weighted.get_weights(), repeated.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # float32 sums in another order


@pytest.mark.parametrize("one_hot", [False, True])
def test_class_weights_are_the_weights_of_their_rows(one_hot):
    loss = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    by_class, by_row = network(loss=loss), network(loss=loss)
    y = np.eye(4)[Y] if one_hot else Y
    by_class.fit(X, y, batch_size=8, epochs=2, class_weight={0: 3.0, 2: 0.5}, verbose=0)
    by_row.fit(X, y, batch_size=8, epochs=2, sample_weight=np.array([3, 1, 0.5, 1])[Y], verbose=0)
    same(by_class, by_row)


@pytest.mark.parametrize("kind", [float, np.float32, np.bool_, bool])
def test_classes_of_any_whole_number(kind):
    """The weights are those that scikit-learn's compute_class_weight gives for such labels."""
    weights = row_weights.class_weights({kind(0): 3.0, kind(1): 0.5}, np.array([1, 0, 1], np.int32), 2, "float32")
    np.testing.assert_array_equal(weights, [0.5, 3.0, 0.5])


def test_class_weights_may_name_classes_that_these_rows_lack():
    model, other = network(), network()
    rows = Y < 2
    weighted = model.train_on_batch(X[rows], Y[rows], class_weight={0: 2.0, 1: 3.0, 3: 4.0})
    assert weighted == other.train_on_batch(X[rows], Y[rows], sample_weight=Y[rows] + 2.0)
    with pytest.raises(ValueError, match="names class 4, but the classes go from 0 to 3"):
        model.train_on_batch(X[rows], Y[rows], class_weight={4: 2.0})


def test_class_weights_of_a_binary_target():
    model = fastnn.Sequential([layers.Dense(1, "sigmoid", input_shape=(3,))])
    model.compile("sgd", "binary_crossentropy")
    y = (Y > 2).astype(float)
    plain = model.evaluate(X, y, verbose=0)
    assert model.train_on_batch(X, y, class_weight={0: 2.0, 1: 2.0}) == pytest.approx(2 * plain, rel=1e-5)


@pytest.mark.parametrize("shape", ["labels", "one-hot", "binary"])
def test_balanced_class_weights_are_those_of_scikit_learn(shape):
    labels = np.array([0, 0, 0, 0, 0, 2, 2, 3]) if shape != "binary" else np.array([0, 1, 1, 1, 1, 1, 1, 1])
    _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    # the formula of compute_class_weight, for the classes that y holds
    expected = len(labels) / (len(counts) * counts[places])
    y = np.eye(4)[labels] if shape == "one-hot" else labels[:, None] if shape == "binary" else labels
    given = row_weights.class_weights("balanced", np.asarray(y, np.int32), 1 if shape == "binary" else 4, "float64")
    np.testing.assert_allclose(given, expected)
    assert given.sum() == pytest.approx(len(labels))


def test_balanced_class_weights_train_as_their_weights_do():
    x, y = np.random.default_rng(0).random((20, 4)), np.arange(20) % 5 == 0
    trained = []
    for settings in ({"class_weight": "balanced"}, {"sample_weight": np.where(y, 20 / (2 * 4), 20 / (2 * 16))}):
        fastnn.utils.set_random_seed(1)
        single = fastnn.Sequential([layers.Dense(1, "sigmoid", input_shape=(4,))])
        single.compile("sgd", "binary_crossentropy")
        single.fit(x, y, epochs=2, verbose=0, **settings)
        trained.append(single.get_weights()[0])
    np.testing.assert_array_equal(*trained)


def test_balanced_class_weights_need_all_rows():
    x, y = np.ones((4, 4), np.float32), np.ones(4, np.float32)
    single = fastnn.Sequential([layers.Dense(1, input_shape=(4,))])
    single.compile("sgd", "mse")
    for attempt in (
        lambda: single.train_on_batch(x, y, class_weight="balanced"),
        lambda: single.fit(iter([(x, y)]), class_weight="balanced", verbose=0),
    ):
        with pytest.raises(ValueError, match="class_weight='balanced' needs all rows at once"):
            attempt()
    with pytest.raises(TypeError, match="class_weight must be a dict of class to weight, or 'balanced', got 'balance'"):
        single.fit(x, y, class_weight="balance", verbose=0)


def test_weights_count_in_evaluate_and_in_validation_data():
    model = network()
    weights = np.arange(20.0)
    rows = np.array([model.test_on_batch(X[k : k + 1], Y[k : k + 1])[0] for k in range(20)])
    expected = (weights * rows).mean()  # divided by the number of rows, as Keras's default reduction does
    assert model.evaluate(X, Y, sample_weight=weights, verbose=0)[0] == pytest.approx(expected, rel=1e-5)
    assert model.test_on_batch(X, Y, weights)[0] == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(X, Y, verbose=0)[0] == pytest.approx(rows.mean(), rel=1e-5)
    still = network(optimizer=fastnn.optimizers.SGD(0.0))
    history = still.fit(X, Y, validation_data=(X, Y, weights), verbose=0).history
    assert history["val_loss"][0] == pytest.approx(still.evaluate(X, Y, sample_weight=weights, verbose=0)[0])


def test_a_validation_split_splits_the_weights():
    weights = np.where(np.arange(20) < 15, 1.0, 7.0)
    history = network().fit(X, Y, validation_split=0.25, sample_weight=weights, verbose=0).history
    plain = network().fit(X, Y, validation_split=0.25, verbose=0).history
    assert history["loss"] == plain["loss"]
    assert history["val_loss"][0] == pytest.approx(7 * plain["val_loss"][0], rel=1e-5)


@pytest.mark.parametrize("action", ["fit", "train_on_batch", "class_weight", "generator"])
def test_negative_weights_are_trained_with_and_warned_of(action):
    x, y, weights = np.ones((4, 2)), np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 1.0, -0.5, 1.0])
    model = fastnn.Sequential([fastnn.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    calls = {
        "fit": lambda: model.fit(x, y, sample_weight=weights, verbose=0),
        "train_on_batch": lambda: model.train_on_batch(x, y, weights),
        "class_weight": lambda: model.fit(x, y, class_weight={0: -1.0}, verbose=0),
        "generator": lambda: model.fit(iter([(x, y, weights)]), verbose=0),
    }
    row = 0 if action == "class_weight" else 2
    before = model.get_weights()[0]
    with pytest.warns(UserWarning, match=f"_weight has negative weights, the first in row {row}"):
        calls[action]()
    assert (model.get_weights()[0] != before).any()
