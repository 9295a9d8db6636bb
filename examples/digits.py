"""Handwritten digits: images of writers whom the network has never seen.

5,620 images of 8 × 8 pixels come with fastnn (E. Alpaydin and C. Kaynak, 1998). 30 people wrote those to train on, 13
others those to test on. A dense network does not know that a digit moved by a pixel is the same digit: it is shown each
one also moved in the four directions. The last tenth of the writers' rows, which no step sees, says when to lower the
learning rate, when to stop and which weights to keep. The baseline is scikit-learn's logistic regression.

    python examples/digits.py [--quick]
"""

from __future__ import annotations

import argparse
import time
import timeit

import numpy as np
from sklearn.linear_model import LogisticRegression

import fastnn
from fastnn import layers
from fastnn.callbacks import EarlyStopping, ReduceLROnPlateau


def build() -> fastnn.Sequential:
    """64 pixels to the probabilities of ten digits."""
    model = fastnn.Sequential(
        [
            fastnn.Input((64,)),
            layers.Dense(256, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def moved(x: np.ndarray) -> np.ndarray:
    """The images, and those moved by one pixel down, right, up and left."""
    padded = np.pad(x.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    corners = [(1, 1), (0, 1), (1, 0), (2, 1), (1, 2)]
    return np.concatenate([padded[:, i : i + 8, j : j + 8].reshape(len(x), 64) for i, j in corners])


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, test, print; return the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few epochs: to see that it runs")
    quick = parser.parse_args(arguments).quick

    (x_train, y_train), (x_test, y_test) = fastnn.datasets.load_digits(by_writer=True)
    x_train, x_test = x_train.astype(np.float32) / 16, x_test.astype(np.float32) / 16
    print(f"{len(x_train)} images of 30 writers to train on, {len(x_test)} of 13 others to test on")
    kept = len(x_train) * 9 // 10
    copies, held = moved(x_train[:kept]), (x_train[kept:], y_train[kept:])

    fastnn.utils.set_random_seed(1)
    model = build()
    begun = time.perf_counter()
    history = model.fit(
        copies,
        np.tile(y_train[:kept], 5),
        batch_size=32,
        epochs=3 if quick else 60,
        validation_data=held,
        callbacks=[
            ReduceLROnPlateau(monitor="val_loss", factor=0.3, patience=8),
            EarlyStopping(monitor="val_loss", patience=20, restore_best_weights=True),
        ],
        verbose=0,
    )
    seconds, epochs = time.perf_counter() - begun, len(history.epoch)
    accuracy = model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
    print(f"fastnn               accuracy {accuracy:.2%}, {epochs} epochs of {len(copies)} rows in {seconds:.1f} s")

    linear = LogisticRegression(max_iter=1000).fit(x_train, y_train)
    baseline = float(linear.score(x_test, y_test))
    print(f"logistic regression  accuracy {baseline:.2%}")

    predictor = model.freeze()
    each = min(timeit.repeat(lambda: predictor(x_test[0]), number=100, repeat=10)) / 100
    read = "".join(str(digit) for digit in predictor(x_test[:10]).argmax(axis=1))
    print(f"frozen: {each * 1e6:.1f} µs an image; the first ten are read as {read}")
    return {"accuracy": accuracy, "baseline": baseline}


if __name__ == "__main__":
    main()
