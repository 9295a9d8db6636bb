"""A diagnosis: which tumours are malignant, judged by measurements of their cells.

569 samples of breast tissue, 30 measurements of the cell nuclei of each (Wolberg, Street and Mangasarian, 1995; comes
with scikit-learn). To overlook a malignant tumour is worse than to alarm for nothing, so malignant rows count more.
Five folds: each row is judged by a network that never saw it, and so are the rows of the baseline, scikit-learn's
logistic regression with the same weights.

    python examples/breast_cancer.py [--quick]
"""

from __future__ import annotations

import argparse
import time
import timeit

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn import layers, metrics
from fastnn.callbacks import EarlyStopping

CLASS_WEIGHT = {0: 1.0, 1: 3.0}  # overlooking one malignant tumour costs as much as three false alarms


def train(x: np.ndarray, y: np.ndarray, epochs: int) -> fastnn.Sequential:
    """Fit to four fifths of these rows, and stop by the rest."""
    x, x_held, y, y_held = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    scale = layers.Normalization(input_shape=(x.shape[1],))
    scale.adapt(x)  # the means and variances of the training rows become part of the model
    model = fastnn.Sequential(
        [
            scale,
            layers.Dense(32, activation="relu", kernel_regularizer=fastnn.regularizers.L2(1e-3)),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=[metrics.AUC(name="auc"), metrics.Recall(name="recall")])
    model.fit(
        x,
        y,
        batch_size=16,
        epochs=epochs,
        class_weight=CLASS_WEIGHT,
        validation_data=(x_held, y_held),
        callbacks=EarlyStopping(monitor="val_loss", patience=15, restore_best_weights=True),
        verbose=0,
    )
    return model


def report(who: str, y: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Print and return what a physician asks."""
    alarm = probability >= 0.5
    found, false = int(np.sum(alarm & (y == 1))), int(np.sum(alarm & (y == 0)))
    auc = float(roc_auc_score(y, probability))
    print(f"{who:<22} AUC {auc:.4f}, finds {found} of {int(y.sum())} malignant, alarms for {false} benign")
    return {"auc": auc, "recall": found / float(y.sum()), "accuracy": float(np.mean(alarm == y))}


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Cross-validate, print; return the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few epochs: to see that it runs")
    epochs = 15 if parser.parse_args(arguments).quick else 100

    data = load_breast_cancer()
    x, y = data.data.astype(np.float32), 1 - data.target  # 1 is malignant
    print(f"{len(x)} samples, {int(y.sum())} of them malignant, {x.shape[1]} measurements each")

    fastnn.utils.set_random_seed(1)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    probability, seconds = np.empty(len(x)), 0.0
    for seen, unseen in folds.split(x, y):
        begun = time.perf_counter()
        model = train(x[seen], y[seen], epochs)
        seconds += time.perf_counter() - begun
        probability[unseen] = model.predict(x[unseen])[:, 0]
    figures = report("fastnn", y, probability)
    print(f"{'':<22} five trainings in {seconds:.2f} s")

    linear = make_pipeline(StandardScaler(), LogisticRegression(class_weight=CLASS_WEIGHT))
    baseline = report("logistic regression", y, cross_val_predict(linear, x, y, cv=folds, method="predict_proba")[:, 1])

    predictor = model.freeze()
    each = min(timeit.repeat(lambda: predictor(x[0]), number=100, repeat=10)) / 100
    print(f"the last model, frozen: {each * 1e6:.1f} µs a patient; the first is malignant at {predictor(x[0])[0]:.1%}")
    return figures | {f"baseline_{name}": value for name, value in baseline.items()}


if __name__ == "__main__":
    main()
