"""fastnn: the public interface, as the README shows it."""

from __future__ import annotations

import numpy as np

import fastnn

from . import ONE_THREAD, Inference, Job, Training

LOSSES = {"softmax": "sparse_categorical_crossentropy", "sigmoid": "binary_crossentropy", "linear": "mse"}


class MissingError(Exception):
    """This fastnn cannot do what the workload needs: a failure, not a peer's nature."""


def version() -> str:
    return fastnn.__version__


def stack(job: Job, behind=list, **each) -> fastnn.Sequential:
    """The workload's layers; `behind` makes what follows each hidden one, `each` goes to every dense one."""
    inputs, *hidden, outputs = job.workload.widths
    layers = [fastnn.Input((inputs,))]
    for units in hidden:
        layers += [fastnn.layers.Dense(units, activation="relu", **each), *behind()]
    return fastnn.Sequential([*layers, fastnn.layers.Dense(outputs, activation=job.workload.output, **each)])


def build(job: Job, rate: float = 1e-3) -> fastnn.Sequential:
    extra = {} if job.workload.precision == "float32" else {"dtype": job.workload.precision}
    try:
        model = stack(job, **extra)
    except (TypeError, ValueError) as error:
        if not extra:
            raise
        raise MissingError(f"this fastnn has no {job.workload.precision}: {error}") from error
    model.set_weights(job.weights)
    model.compile(optimizer=fastnn.optimizers.Adam(rate), loss=LOSSES[job.workload.output])
    return model


def train(job: Job) -> Training:
    fastnn.set_num_threads(job.threads)
    model = build(job)

    def epoch():
        model.fit(job.x, job.y, batch_size=job.workload.batch, epochs=1, verbose=0, shuffle=job.shuffle)

    return Training(epoch, model.get_weights)


train_sparse = train


def many(job: Job, members: list[list[np.ndarray]], rates: np.ndarray) -> Training:
    """All networks in one call, or (`together` false) one after the other."""
    fastnn.set_num_threads(job.threads)
    fastnn.utils.set_random_seed(0)  # both ways see the rows in the same orders, and must end at the same bits
    if job.workload.together and not hasattr(fastnn, "Ensemble"):
        raise MissingError("this fastnn has no Ensemble, which T6 trains")
    models = []
    for weights, rate in zip(members, rates, strict=True):
        job.weights = weights
        models.append(build(job, float(rate)))
    settings = {"batch_size": job.workload.batch, "epochs": 1, "verbose": 0}
    if job.workload.together:
        ensemble = fastnn.Ensemble(models)

        def epoch():
            ensemble.fit(job.x, job.y, **settings)
    else:

        def epoch():
            for model in models:
                model.fit(job.x, job.y, shuffle=job.shuffle, **settings)

    return Training(epoch, lambda: [array for model in models for array in model.get_weights()])


def infer(job: Job) -> Inference:
    fastnn.set_num_threads(job.threads)
    model = build(job)
    if not hasattr(model, "freeze"):
        raise MissingError("this fastnn has no Sequential.freeze, whose Predictor the inference workloads call")
    predictor = model.freeze()
    out = np.empty((job.workload.batch, job.workload.widths[-1]), np.float32)
    return Inference(np.ascontiguousarray, lambda rows: predictor(rows, out=out), np.array)


def gradient(job: Job) -> Inference:
    """Output 0 of each row and its gradient."""
    fastnn.set_num_threads(job.threads)
    call = build(job).freeze().value_and_gradient
    return Inference(
        lambda rows: np.ascontiguousarray(rows[0] if len(rows) == 1 else rows), call, lambda answer: answer[1]
    )


def jacobian(job: Job) -> Inference:
    """All outputs of a row and their gradients."""
    fastnn.set_num_threads(job.threads)
    return Inference(lambda rows: np.ascontiguousarray(rows[0]), build(job).freeze().jacobian, lambda answer: answer[1])


def adam(job: Job) -> Training:
    """One step over a large buffer of parameters."""
    fastnn.set_num_threads(job.threads)
    inputs, units = job.workload.widths
    layer = fastnn.layers.Dense(units, kernel_initializer="zeros")
    model = fastnn.Sequential([fastnn.Input((inputs,)), layer])
    model.compile(optimizer="adam", loss="mse")
    for gradient in model.gradients:
        gradient[...] = 1
    return Training(model.apply_gradients, model.get_weights)


def featured(job: Job, feature: str) -> tuple[fastnn.Sequential, dict]:
    """The workload's model with one thing more, and what `fit` needs for it."""
    layers = fastnn.layers
    behind = {
        "Dropout": lambda: [layers.Dropout(0.2)],
        "GaussianNoise": lambda: [layers.GaussianNoise(0.1)],
        "BatchNormalization": lambda: [layers.BatchNormalization()],
        "LayerNormalization": lambda: [layers.LayerNormalization()],
    }.get(feature, list)
    each = {
        "L2": {"kernel_regularizer": fastnn.regularizers.L2(1e-4)},
        "activity_regularizer": {"activity_regularizer": fastnn.regularizers.L2(1e-4)},
        "MaxNorm": {"kernel_constraint": fastnn.constraints.MaxNorm(3)},
    }.get(feature, {})
    optimizer = {
        "clipvalue": {"clipvalue": 0.5},
        "clipnorm": {"clipnorm": 1.0},
        "global_clipnorm": {"global_clipnorm": 1.0},
        "weight_decay": {"weight_decay": 1e-4},
        "use_ema": {"use_ema": True},
    }.get(feature, {})
    model = stack(job, behind, **each)
    measures = ["accuracy"] if feature == "accuracy" else []
    model.compile(fastnn.optimizers.Adam(**optimizer), LOSSES[job.workload.output], metrics=measures)
    weights = {
        "class_weight": {"class_weight": {label: 1 + label / 10 for label in range(job.workload.widths[-1])}},
        "sample_weight": {"sample_weight": np.linspace(0.5, 1.5, job.workload.rows, dtype=np.float32)},
    }
    return model, weights.get(feature, {})


def costs(job: Job, features: list[str]) -> dict:
    """An epoch with each of the features; "" is without any, and ONE_THREAD the same on one thread."""

    def epoch(feature: str):
        model, arguments = made[feature]
        fastnn.set_num_threads(1 if feature == ONE_THREAD else job.threads)
        model.fit(job.x, job.y, batch_size=job.workload.batch, epochs=1, verbose=0, shuffle=job.shuffle, **arguments)

    made = {feature: featured(job, feature) for feature in features}
    return {feature: (lambda feature=feature: epoch(feature)) for feature in features}


def stream(job: Job, rows_in_memory: int) -> dict:
    """Predictions of rows in a file (job.x is a memmap), and of some of them in memory."""
    fastnn.set_num_threads(job.threads)
    model = build(job)
    if not hasattr(model, "freeze"):
        raise MissingError("this fastnn has no Sequential.freeze, whose Predictor I4 calls")
    predictor = model.freeze()
    out = np.zeros((len(job.x), job.workload.widths[-1]), np.float32)
    array = np.array(job.x[:rows_in_memory])
    part = np.zeros((rows_in_memory, job.workload.widths[-1]), np.float32)
    return {
        "file": lambda: predictor(job.x, out=out),
        "memory": lambda: predictor(array, out=part),
        "same": lambda: bool(np.array_equal(out[:rows_in_memory], part)),
    }
