"""Keras, on TensorFlow or on JAX, by its own `fit` with many steps in one compiled call."""

from __future__ import annotations

import keras
import numpy as np

from . import Inference, Job, Training

LOSSES = {"softmax": "sparse_categorical_crossentropy", "sigmoid": "binary_crossentropy", "linear": "mse"}
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if ON_TENSORFLOW:
    import tensorflow as tf
else:
    import jax
    import jax.numpy as jnp


def version() -> str:
    return f"{keras.__version__} on {f'TensorFlow {tf.__version__}' if ON_TENSORFLOW else f'JAX {jax.__version__}'}"


def build(job: Job) -> keras.Sequential:
    widths = job.workload.widths
    hidden = [keras.layers.Dense(n, activation="relu") for n in widths[1:-1]]
    last = keras.layers.Dense(widths[-1], activation=job.workload.output)
    model = keras.Sequential([keras.Input((widths[0],)), *hidden, last])
    model.set_weights(job.weights)
    return model


def train(job: Job) -> Training:
    workload = job.workload
    model = build(job)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3, epsilon=1e-7),
        loss=LOSSES[workload.output],
        jit_compile=job.options.get("jit", True),
        steps_per_execution=job.options.get("steps", max(1, min(64, workload.steps // 4))),
    )

    def epoch():
        model.fit(job.x, job.y, batch_size=workload.batch, epochs=1, verbose=0, shuffle=job.shuffle)

    return Training(epoch, model.get_weights)


def infer(job: Job) -> Inference:
    model = build(job)
    if ON_TENSORFLOW:
        shape = tf.TensorSpec((job.workload.batch, job.workload.widths[0]), tf.float32)
        call = tf.function(lambda rows: model(rows, training=False), input_signature=[shape], jit_compile=True)
        return Inference(tf.constant, call.get_concrete_function(), lambda out: out.numpy())
    state = [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]
    compiled = jax.jit(lambda rows: model.stateless_call(*state, rows, training=False)[0])
    return Inference(jnp.asarray, lambda rows: compiled(rows).block_until_ready(), np.asarray)
