"""Housing: what the houses of a block are worth, and between which bounds.

20,640 blocks of California in the census of 1990: eight numbers, one of them missing 207 times, and how near the
ocean is, in words. What is missing becomes the median of the training rows, beside a column that says so; the words
go through a small table of vectors (an Embedding) in a branch of their own. Waves of several lengths over the map let
the network tell neighbours apart. The quantile loss gives three answers for each block: a lower bound, the middle, an
upper bound. The middle is compared with scikit-learn's gradient-boosted trees, which are hard to beat on tables.

    python examples/housing.py [--quick]
"""

from __future__ import annotations

import argparse
import time
import timeit
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

import fastnn
from fastnn import layers
from fastnn.callbacks import EarlyStopping

DATA = Path(__file__).parent / "data" / "california_housing.csv.gz"


def numbers(table: np.ndarray, bedrooms: float) -> np.ndarray:
    """The numeric columns of these blocks; `bedrooms` stands in for a missing count."""
    missing = np.isnan(table["total_bedrooms"])
    households = table["households"]
    columns = [
        table["housing_median_age"],
        np.log(table["median_income"]),
        np.log(households),
        np.log(table["population"] / households),
        np.log(table["total_rooms"] / households),
        np.log(np.where(missing, bedrooms, table["total_bedrooms"]) / table["total_rooms"]),
        missing,
    ]
    east, north = table["longitude"] + 119.6, table["latitude"] - 35.6  # degrees from the middle of the state
    directions = [east, north, (east + north) / np.sqrt(2), (east - north) / np.sqrt(2)]
    waves = [wave(k * d) for k in (2, 4, 8, 16) for d in directions for wave in (np.sin, np.cos)]
    return np.stack([*columns, east, north, *waves], axis=1).astype(np.float32)


def build(x: dict[str, np.ndarray], words: int, steps: int) -> fastnn.Sequential:
    """Two branches, three hidden layers, three quantiles of the logarithm of the value."""
    scale = layers.Normalization(input_shape=(x["numbers"].shape[1],))
    scale.adapt(x["numbers"])
    model = fastnn.Sequential(
        [
            layers.Branches({"numbers": [scale], "ocean": [layers.Input((1,)), layers.Embedding(words, 3)]}),
            layers.Dense(256, activation="silu"),
            layers.Dropout(0.2),
            layers.Dense(256, activation="silu"),
            layers.Dropout(0.2),
            layers.Dense(128, activation="silu"),
            layers.Dense(3),
        ]
    )
    rate = fastnn.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(fastnn.optimizers.AdamW(rate, weight_decay=1e-3), fastnn.losses.Quantile([0.1, 0.5, 0.9]))
    return model


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, test, print; return the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few epochs: to see that it runs")
    quick = parser.parse_args(arguments).quick
    epochs, batch = (4, 128) if quick else (60, 128)

    table = np.genfromtxt(DATA, delimiter=",", names=True, dtype=None, encoding="utf-8")
    table = table[np.random.default_rng(0).permutation(len(table))]
    test, held, train = np.split(table, [len(table) // 5, len(table) * 3 // 10])
    print(f"{len(train)} blocks to train on, {len(held)} to stop by, {len(test)} to test on")
    bedrooms = float(np.nanmedian(train["total_bedrooms"]))
    lookup = layers.StringLookup()
    lookup.adapt(train["ocean_proximity"])
    parts = [train, held, test]
    x_train, x_held, x_test = ({"numbers": numbers(t, bedrooms), "ocean": lookup(t["ocean_proximity"])} for t in parts)
    y_train, y_held = (np.log(t["median_house_value"]) for t in (train, held))

    fastnn.utils.set_random_seed(1)
    model = build(x_train, lookup.vocabulary_size(), steps=-(-len(train) // batch) * epochs)
    stop = EarlyStopping(patience=15, restore_best_weights=True)
    begun = time.perf_counter()
    model.fit(x_train, y_train, batch, epochs, verbose=0, validation_data=(x_held, y_held), callbacks=stop)
    seconds = time.perf_counter() - begun

    value = test["median_house_value"]
    low, middle, high = np.exp(model.predict(x_test)).T  # a quantile of the logarithm is the logarithm of the quantile
    trees = HistGradientBoostingRegressor(
        max_iter=40 if quick else 400, random_state=0, categorical_features=[x_train["numbers"].shape[1]]
    )
    trees.fit(np.column_stack([*x_train.values()]), y_train)
    guesses = {
        "fastnn": middle,
        "boosted trees": np.exp(trees.predict(np.column_stack([*x_test.values()]))),
        "the mean, always": np.mean(train["median_house_value"]),
    }
    errors = {name: float(np.sqrt(np.mean((guess - value) ** 2))) for name, guess in guesses.items()}
    for name, guess in guesses.items():
        print(
            f"{name:<17} root mean square error ${errors[name]:,.0f}, mean error ${np.abs(guess - value).mean():,.0f}"
        )
    covered = float(np.mean((low <= value) & (value <= high)))
    print(f"trained in {seconds:.1f} s; {covered:.1%} of the values lie between the bounds, which should hold 80 %")

    predictor = model.freeze()
    row = np.column_stack([*x_test.values()])[0].astype(np.float32)  # the branches' columns, side by side
    each = min(timeit.repeat(lambda: predictor(row), number=100, repeat=10)) / 100
    bounds = ", ".join(f"${bound:,.0f}" for bound in np.exp(predictor(row)))
    print(f"frozen: {each * 1e6:.1f} µs a block; the first: {bounds}; it was ${value[0]:,.0f}")
    return {
        "error": errors["fastnn"],
        "trees": errors["boosted trees"],
        "mean": errors["the mean, always"],
        "covered": covered,
    }


if __name__ == "__main__":
    main()
