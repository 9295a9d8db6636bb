"""scikit-learn's MLP, one epoch a `partial_fit`."""

from __future__ import annotations

import warnings

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier

from . import Inference, Job, Training, UnsupportedError


def version() -> str:
    return sklearn.__version__


def build(job: Job) -> MLPClassifier:
    workload = job.workload
    if workload.output == "linear":
        raise UnsupportedError("scikit-learn is measured as a classifier")
    warnings.simplefilter("ignore")
    model = MLPClassifier(
        workload.widths[1:-1], solver="adam", alpha=0.0, batch_size=workload.batch, learning_rate_init=1e-3,
        epsilon=1e-7, shuffle=job.shuffle, random_state=0,
    )  # fmt: skip
    classes = np.arange(max(2, workload.widths[-1]))
    model.partial_fit(np.zeros((2, workload.widths[0]), np.float32), np.zeros(2, int), classes=classes)
    del model._optimizer  # the next fit makes a new one, for the weights set here
    for k, array in enumerate(job.weights):
        (model.intercepts_ if k % 2 else model.coefs_)[k // 2] = array.copy()
    return model


def train(job: Job) -> Training:
    model = build(job)
    labels = job.y.reshape(-1).astype(np.int64)
    order = [array for pair in zip(model.coefs_, model.intercepts_, strict=True) for array in pair]
    return Training(lambda: model.partial_fit(job.x, labels), lambda: [array.copy() for array in order])


train_sparse = train


def infer(job: Job) -> Inference:
    model = build(job)
    return Inference(np.ascontiguousarray, model.predict_proba)
