"""JAX with optax: one compiled call a step, and one a whole epoch (lax.scan)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from . import Inference, Job, Training, UnsupportedError


def version() -> str:
    return f"{jax.__version__}, optax {optax.__version__}"


def logits(weights, x):
    for k in range(0, len(weights), 2):
        x = x @ weights[k] + weights[k + 1]
        if k < len(weights) - 2:
            x = jax.nn.relu(x)
    return x


def objective(kind: str):
    def mean_loss(weights, x, y):
        z = logits(weights, x)
        if kind == "softmax":
            return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()
        if kind == "sigmoid":
            return optax.sigmoid_binary_cross_entropy(z, y).mean()
        return ((z - y) ** 2).mean()

    return mean_loss


def stepper(kind: str, rate=1e-3):
    optimizer = optax.adam(rate, b1=0.9, b2=0.999, eps=1e-7)
    gradient = jax.grad(objective(kind))

    def step(state, x, y):
        weights, moments = state
        change, moments = optimizer.update(gradient(weights, x, y), moments)
        return optax.apply_updates(weights, change), moments

    return optimizer, step


def epoch_by_scan(step, batch: int):
    """A function of (state, rows, targets, order): the full batches in one loop, then what is left."""

    def epoch(state, x, y, order):
        full = len(order) // batch * batch

        def body(state, index):
            return step(state, x[index], y[index]), None

        state, _ = jax.lax.scan(body, state, order[:full].reshape(-1, batch))
        return step(state, x[order[full:]], y[order[full:]]) if full < len(order) else state

    return epoch


def train(job: Job) -> Training:
    batch = job.workload.batch
    x, y = jnp.asarray(job.x), jnp.asarray(job.y.astype(np.int32) if job.y.dtype.kind == "i" else job.y)
    optimizer, step = stepper(job.workload.output)
    weights = [jnp.array(array) for array in job.weights]
    cell, orders = [(weights, optimizer.init(weights))], job.orders()
    if job.options.get("scan"):
        whole = jax.jit(epoch_by_scan(step, batch), donate_argnums=0)

        def epoch():
            cell[0] = jax.block_until_ready(whole(cell[0], x, y, orders()))
    else:

        @functools.partial(jax.jit, donate_argnums=0)
        def indexed(state, x, y, index):
            return step(state, x[index], y[index])

        def epoch():
            state, order = cell[0], orders()
            for start in range(0, len(order), batch):
                state = indexed(state, x, y, order[start : start + batch])
            cell[0] = jax.block_until_ready(state)

    return Training(epoch, lambda: [np.asarray(array) for array in cell[0][0]])


def many(job: Job, members: list[list[np.ndarray]], rates: np.ndarray) -> Training:
    """All networks at once, by vmap, each with an order of its own."""
    if not job.options.get("scan"):
        raise UnsupportedError("the epochs of all networks are one loop")
    x, y = jnp.asarray(job.x), jnp.asarray(job.y)
    weights = [jnp.stack([member[k] for member in members]) for k in range(len(members[0]))]

    def one(rate, state, order):
        return epoch_by_scan(stepper(job.workload.output, rate)[1], job.workload.batch)(state, x, y, order)

    states = jax.vmap(optax.adam(1e-3).init)(weights)
    whole, orders = jax.jit(jax.vmap(one), donate_argnums=1), job.orders()
    cell, rates = [(weights, states)], jnp.asarray(rates, jnp.float32)

    def epoch():
        cell[0] = jax.block_until_ready(whole(rates, cell[0], np.stack([orders() for _ in members])))

    return Training(epoch, lambda: [np.asarray(a)[m] for m in range(len(members)) for a in cell[0][0]])


def infer(job: Job) -> Inference:
    if job.options.get("scan"):
        raise UnsupportedError("there is nothing to loop over")
    weights = [jnp.array(array) for array in job.weights]
    last = {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid, "linear": lambda z: z}[job.workload.output]
    call = jax.jit(lambda x: last(logits(weights, x)))
    return Inference(jnp.asarray, lambda rows: call(rows).block_until_ready())


def differentiated(job: Job, transformed) -> Inference:
    """Calls of transformed(network of one row), mapped over the rows of a batch."""
    if job.options.get("scan"):
        raise UnsupportedError("there is nothing to loop over")
    weights = [jnp.array(array) for array in job.weights]
    last = {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid, "linear": lambda z: z}[job.workload.output]
    call, alone = transformed(lambda x: last(logits(weights, x))), job.workload.batch == 1
    call = jax.jit(call if alone else jax.vmap(call))
    return Inference(
        lambda rows: jnp.asarray(rows[0] if alone else rows),
        lambda rows: jax.block_until_ready(call(rows)),
        lambda answer: np.asarray(answer[1]),
    )


def gradient(job: Job) -> Inference:
    return differentiated(job, lambda network: jax.value_and_grad(lambda x: network(x)[0]))


def jacobian(job: Job) -> Inference:
    def both(network):
        derivative = jax.jacrev(lambda x: (network(x),) * 2, has_aux=True)
        return lambda x: derivative(x)[::-1]

    return differentiated(job, both)
