"""Speech: which of nine speakers said it.

Nine men said the two Japanese vowels a-e, 640 times altogether (Kudo, Toyama and Shimbo, 1999). Each utterance is a
series of 7 to 29 frames of 12 LPC cepstrum coefficients. A dense network wants rows of one width: each utterance is
stretched to ten frames. The network trains on 30 utterances of each man and listens to 370 others, recorded at other
times; it may also say that it is not sure. The baseline is scikit-learn's logistic regression; the authors of the data
reached 94.1 %.

    python examples/speech.py [--quick]
"""

from __future__ import annotations

import argparse
import time
import timeit
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn import layers

DATA = Path(__file__).parent / "data" / "japanese_vowels.npz"
FRAMES = 10
SURE = 0.9  # below this probability a person should listen


def stretched(utterance: np.ndarray) -> np.ndarray:
    """An utterance of any length as a row of FRAMES frames, each between two of the frames that there are."""
    at = np.linspace(0, len(utterance) - 1, FRAMES)
    before = at.astype(int)
    after = np.minimum(before + 1, len(utterance) - 1)
    share = (at - before)[:, None]
    return ((1 - share) * utterance[before] + share * utterance[after]).ravel()


def load(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and speakers of the part to train or to test on."""
    with np.load(DATA, allow_pickle=False) as file:
        ends = np.cumsum(file[f"lengths_{part}"], dtype=int)
        utterances = np.split(file[f"frames_{part}"], ends[:-1])
        return np.array([stretched(u) for u in utterances], np.float32), file[f"speaker_{part}"]


def build(x: np.ndarray) -> fastnn.Sequential:
    """A row to the probabilities of nine speakers; noise and dropout, as 270 rows are few."""
    scale = layers.Normalization(input_shape=(x.shape[1],))
    scale.adapt(x)
    model = fastnn.Sequential(
        [
            scale,
            layers.GaussianNoise(0.3),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(9, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, test, print; return the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few epochs: to see that it runs")
    epochs = 30 if parser.parse_args(arguments).quick else 200

    (x_train, y_train), (x_test, y_test) = load("train"), load("test")
    print(f"{len(x_train)} utterances of 9 speakers to train on, {len(x_test)} others to test on")

    fastnn.utils.set_random_seed(1)
    model = build(x_train)
    begun = time.perf_counter()
    model.fit(x_train, y_train, batch_size=16, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - begun
    accuracy = model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
    print(f"fastnn               accuracy {accuracy:.2%}, {epochs} epochs in {seconds:.2f} s")

    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x_train, y_train)
    baseline = float(linear.score(x_test, y_test))
    print(f"logistic regression  accuracy {baseline:.2%}")

    predictor = model.freeze()
    probability = predictor(x_test)
    sure = probability.max(axis=1) >= SURE
    right = probability.argmax(axis=1) == y_test
    print(
        f"sure (at least {SURE:.0%}) of {sure.mean():.1%} of the utterances, right in {right[sure].mean():.2%} of those"
    )
    each = min(timeit.repeat(lambda: predictor(x_test[0]), number=100, repeat=10)) / 100
    print(f"frozen: {each * 1e6:.1f} µs an utterance")
    return {"accuracy": accuracy, "baseline": baseline, "sure": float(sure.mean()), "right": float(right[sure].mean())}


if __name__ == "__main__":
    main()
