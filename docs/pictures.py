"""Draws the pictures of the examples and of the guide, from trainings that it runs: a minute or two in all.

    python docs/pictures.py [NAME ...]

Needs matplotlib and what the examples need. Each picture becomes a file in docs/pictures/.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import sklearn.calibration
import sklearn.datasets
import sklearn.metrics
import sklearn.model_selection

import fastnn
from fastnn import layers
from fastnn.sklearn import MLPClassifier, MLPRegressor

FOLDER = Path(__file__).parent / "pictures"
EXAMPLES = Path(__file__).parent.parent / "examples"
PICTURES: dict[str, Callable[[], Any]] = {}


def picture(draw: Callable[[], Any]) -> Callable[[], Any]:
    """Count a function among those that draw a picture, under its name; it returns the figure, or SVG."""
    PICTURES[draw.__name__] = draw
    return draw


def panels(count: int = 1, width: float = 5.2, height: float = 3.4) -> tuple[Any, Any]:
    """Return a figure and its axes."""
    return plt.subplots(1, count, figsize=(width * count, height), layout="constrained", squeeze=False)


# ---- of the examples ----


@picture
def digits():
    """The curves of a training, and all images that are read wrongly."""
    import digits as example

    (x, y), (x_test, y_test) = fastnn.datasets.load_digits(by_writer=True)
    x, x_test, kept = x.astype(np.float32) / 16, x_test.astype(np.float32) / 16, len(x) * 9 // 10
    fastnn.utils.set_random_seed(1)
    model = example.build()
    held = x[kept:], y[kept:]
    history = model.fit(example.moved(x[:kept]), np.tile(y[:kept], 5), 32, 25, validation_data=held, verbose=0)
    figure = plt.figure(figsize=(10.4, 3.4), layout="constrained")
    left, right = figure.subfigures(1, 2)
    history.plot(["loss"], axes=[left.subplots()])
    read = model.predict(x_test).argmax(axis=1)
    wrong = np.flatnonzero(read != y_test)[:24]
    right.suptitle(f"{int(np.sum(read != y_test))} of {len(x_test)} images are read wrongly", fontsize=10)
    for axes, k in zip(right.subplots(3, 8).flat, wrong, strict=False):
        axes.imshow(x_test[k].reshape(8, 8), cmap="gray_r")
        axes.set_title(f"{y_test[k]} as {read[k]}", fontsize=8)
        axes.set_axis_off()
    return figure


@picture
def breast_cancer():
    """ROC curves of what each fold's network says of the rows that it has not seen, and of a logistic regression."""
    import breast_cancer as example
    from sklearn.model_selection import cross_val_predict

    data = sklearn.datasets.load_breast_cancer()
    x, y = data.data.astype(np.float32), 1 - data.target
    folds = sklearn.model_selection.StratifiedKFold(5, shuffle=True, random_state=0)
    fastnn.utils.set_random_seed(1)
    probability = np.empty(len(x))
    for seen, unseen in folds.split(x, y):
        probability[unseen] = example.train(x[seen], y[seen], 100).predict(x[unseen])[:, 0]
    linear = example.make_pipeline(example.StandardScaler(), example.LogisticRegression())
    baseline = cross_val_predict(linear, x, y, cv=folds, method="predict_proba")[:, 1]
    figure, axes = panels()
    for name, guess in {"fastnn": probability, "logistic regression": baseline}.items():
        sklearn.metrics.RocCurveDisplay.from_predictions(y, guess, name=name, ax=axes[0, 0])
    axes[0, 0].set(xlim=(-0.01, 0.3), ylim=(0.7, 1.01), xlabel="false alarms", ylabel="malignant tumours found")
    return figure


@picture
def housing():
    """What blocks of California that no step has seen are said to be worth, and what they are."""
    import housing as example

    table = np.genfromtxt(example.DATA, delimiter=",", names=True, dtype=None, encoding="utf-8")
    table = table[np.random.default_rng(0).permutation(len(table))]
    test, train = np.split(table, [len(table) // 5])
    bedrooms = float(np.nanmedian(train["total_bedrooms"]))
    lookup = layers.StringLookup()
    lookup.adapt(train["ocean_proximity"])
    x, x_test = (
        {"numbers": example.numbers(t, bedrooms), "ocean": lookup(t["ocean_proximity"])} for t in (train, test)
    )
    fastnn.utils.set_random_seed(1)
    model = example.build(x, lookup.vocabulary_size(), steps=-(-len(train) // 128) * 20)
    model.fit(x, np.log(train["median_house_value"]), 128, 20, verbose=0)
    low, middle, high = np.exp(model.predict(x_test)).T
    value = test["median_house_value"]
    figure, axes = panels(2, 4.6, 3.8)
    drawn = axes[0, 0].scatter(test["longitude"], test["latitude"], c=middle / 1000, s=3, cmap="viridis", vmax=500)
    figure.colorbar(drawn, ax=axes[0, 0], label="answer, thousands of $")
    axes[0, 0].set(xlabel="longitude", ylabel="latitude")
    order = np.argsort(middle)[::12]
    places = np.arange(len(order))
    axes[0, 1].fill_between(places, low[order] / 1000, high[order] / 1000, alpha=0.3, label="bounds of 80 %")
    axes[0, 1].plot(places, middle[order] / 1000, label="middle")
    axes[0, 1].plot(places, value[order] / 1000, ".", markersize=3, color="black", label="true")
    axes[0, 1].set(xlabel="blocks, by the answer", ylabel="thousands of $")
    axes[0, 1].legend()
    return figure


@picture
def speech():
    """Which speaker is taken for which."""
    import speech as example

    (x, y), (x_test, y_test) = example.load("train"), example.load("test")
    fastnn.utils.set_random_seed(1)
    model = example.build(x)
    model.fit(x, y, batch_size=16, epochs=200, verbose=0)
    figure, axes = panels(width=4.2, height=3.8)
    guesses = model.predict(x_test).argmax(axis=1)
    sklearn.metrics.ConfusionMatrixDisplay.from_predictions(
        y_test, guesses, ax=axes[0, 0], cmap="Blues", colorbar=False
    )
    axes[0, 0].set(xlabel="taken for speaker", ylabel="speaker")
    return figure


@picture
def cartpole():
    """To which side a network pushes that has played by itself."""
    import cartpole as example

    model, steps = example.train(0, 475)
    angle, turning = np.meshgrid(np.linspace(-0.2, 0.2, 200), np.linspace(-2, 2, 200))
    states = np.zeros((angle.size, 4), np.float32)
    states[:, 2], states[:, 3] = angle.ravel(), turning.ravel()
    left, right = model.predict(states).T
    figure, axes = panels()
    drawn = axes[0, 0].pcolormesh(angle, turning, (right - left).reshape(angle.shape), cmap="RdBu", vmin=-3, vmax=3)
    figure.colorbar(drawn, ax=axes[0, 0], label="worth of a push to the right, less the left")
    axes[0, 0].set(xlabel="angle of the pole, radians", ylabel="its speed", title=f"after {steps:,} steps of the game")
    return figure


@picture
def ppo():
    """How long games last along a training."""
    import ppo as example

    figure, axes = panels()
    for seed in (0, 1, 2):
        fastnn.utils.set_random_seed(seed)
        rng, games, model = np.random.default_rng(seed), example.Games(example.GAMES, seed), example.build()
        rounds, lengths = 400, []
        for k in range(rounds):
            if k % 25 == 0:
                lengths.append(example.play(model, seed=7))
            left = 1 - k / rounds
            model.optimizer.learning_rate = example.RATE * left
            example.learn(model, example.collect(model, games, rng), example.CLIP * left)
        lengths.append(example.play(model, seed=7))
        played = np.arange(0, rounds + 1, 25) * example.STEPS * example.GAMES
        axes[0, 0].plot(played, lengths, ".-", label=f"seed {seed}")
    axes[0, 0].axhline(475, color="gray", linestyle=":", label="counts as solved")
    axes[0, 0].set(xlabel="steps of the game that were played", ylabel="steps that 100 new games last")
    axes[0, 0].legend()
    return figure


@picture
def sac():
    """The torque that the actor sets at each angle and speed."""
    import sac as example

    agent = example.train(0, 4000, 64)
    angle, speed = np.meshgrid(np.linspace(-np.pi, np.pi, 200), np.linspace(-8, 8, 200))
    observations = np.stack([np.cos(angle), np.sin(angle), speed], axis=-1).reshape(-1, 3).astype(np.float32)
    torque = 2 * agent.best(observations).reshape(angle.shape)
    figure, axes = panels()
    drawn = axes[0, 0].pcolormesh(angle, speed, torque, cmap="PuOr", vmin=-2, vmax=2)
    figure.colorbar(drawn, ax=axes[0, 0], label="torque")
    axes[0, 0].set(xlabel="angle from upright, radians", ylabel="speed of the pendulum")
    return figure


@picture
def sobolev():
    """Errors by 100 rows with and without derivatives."""
    import sobolev as example

    rng = np.random.default_rng(0)
    x, x_test = rng.uniform(-1, 1, (100, 8)), rng.uniform(-1, 1, (2000, 8))
    mean, scale = example.flow(x_test).mean(), example.flow(x_test).std()
    y, true = (example.flow(x)[:, None] - mean) / scale, example.flow(x_test)
    figure, axes = panels(2, 4.2, 3.6)
    for k, (name, known) in enumerate({"values": None, "values and derivatives": example.slopes(x) / scale}.items()):
        fastnn.utils.set_random_seed(0)
        model = example.train(x, y, known, 4000, rng)
        guess = mean + scale * model.predict(x_test)[:, 0]
        axes[0, k].plot(true, guess - true, ".", markersize=2)
        axes[0, k].set(title=f"trained on {name} of 100 rows", xlabel="flow, m³ a year", ylim=(-8, 8))
    axes[0, 0].set(ylabel="error")
    return figure


@picture
def derivatives():
    """Twenty descents of a surrogate with its gradient."""
    import derivatives as example

    generator = np.random.default_rng(0)
    x = generator.random((20_000, 6))
    fastnn.utils.set_random_seed(0)
    network = example.surrogate(x, example.hartmann(x)[:, None], "silu", 60)
    figure, axes = panels()
    for start in generator.random((20, 6)):
        path = [start]
        example.minimize(
            network.value_and_gradient, start, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * 6, callback=path.append
        )
        axes[0, 0].plot(example.hartmann(np.array(path)), color="tab:blue", alpha=0.6)
    axes[0, 0].axhline(example.LOWEST, color="gray", linestyle=":", label="the lowest that there is")
    axes[0, 0].set(xlabel="steps of a descent", ylabel="Hartmann's function, the true one")
    axes[0, 0].legend()
    return figure


# ---- of the guide ----


def digits_model():
    """The network of the page, and what its training tells."""
    (x, y), test = fastnn.datasets.load_digits()
    fastnn.utils.set_random_seed(0)
    model = fastnn.Sequential(
        [
            layers.Rescaling(1 / 16, input_shape=(64,)),
            layers.Dense(64, "relu"),
            layers.Dropout(0.3),
            layers.Dense(10, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, model.fit(x, y, epochs=30, validation_split=0.2, verbose=0), test


@picture
def history():
    """What history.plot() draws."""
    axes = digits_model()[1].plot()
    figure = np.ravel(axes)[0].figure
    figure.set_size_inches(9, 3.2)
    return figure


@picture
def network():
    """What model.plot() draws."""
    heads = {"price": [layers.Dense(3)], "sold": [layers.Dense(1, "sigmoid")]}
    branches = {
        "numbers": [fastnn.Input((8,)), layers.BatchNormalization()],
        "district": [fastnn.Input((1,)), layers.Embedding(12, 4)],
    }
    block = layers.Residual([layers.Dense(32, "relu"), layers.Dense(32)])
    stack = [layers.Branches(branches), layers.Dense(32, "relu"), block, layers.Heads(heads)]
    return fastnn.Sequential(stack, name="flats").plot().svg


@picture
def displays():
    """Scikit-learn's displays of estimators."""
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    split = sklearn.model_selection.train_test_split
    x_train, x_test, y_train, y_test = split(x / 16, y, random_state=0)
    classifier = MLPClassifier((64,), early_stopping=True, random_state=0).fit(x_train, y_train)
    figure, axes = panels(3, 4, 3.8)
    sklearn.metrics.ConfusionMatrixDisplay.from_estimator(
        classifier, x_test, y_test, ax=axes[0, 0], cmap="Blues", colorbar=False
    )
    x, y = sklearn.datasets.make_classification(4000, 20, flip_y=0.2, random_state=0)
    x_train, x_test, y_train, y_test = split(x, y, random_state=0)
    likely = MLPClassifier((32,), early_stopping=True, random_state=0).fit(x_train, y_train)
    sklearn.calibration.CalibrationDisplay.from_estimator(likely, x_test, y_test, n_bins=8, ax=axes[0, 1])
    x, y = sklearn.datasets.make_friedman1(2000, noise=1, random_state=0)
    x_train, x_test, y_train, y_test = split(x, y, random_state=0)
    regressor = MLPRegressor(hidden_layer_sizes=(64,), learning_rate_init=0.01, early_stopping=True, random_state=0)
    regressor.fit(x_train, y_train)
    sklearn.metrics.PredictionErrorDisplay.from_estimator(
        regressor, x_test, y_test, ax=axes[0, 2], scatter_kwargs={"s": 6}
    )
    return figure


def main() -> None:
    """Draw the pictures that are named, or all."""
    sys.path.insert(0, str(EXAMPLES))
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or PICTURES:
        drawn = PICTURES[name]()
        if isinstance(drawn, str):
            (FOLDER / f"{name}.svg").write_text(drawn)
        else:
            drawn.savefig(FOLDER / f"{name}.png", dpi=110)
        plt.close("all")
        print(name)


if __name__ == "__main__":
    main()
