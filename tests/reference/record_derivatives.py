"""Derivatives of a few networks by their inputs, as JAX gives them: values, products along directions, Hessians.

Needs JAX alone, and is run from this folder: python record_derivatives.py. tests/test_derivatives_second.py compares.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

HERE = Path(__file__).parent
INPUTS, ROWS, MOST = 3, 4, 5
ACTIVATIONS = {
    "linear": lambda x: x,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "silu": jax.nn.silu,
    "mish": jax.nn.mish,
    "softplus": jax.nn.softplus,
    "log_sigmoid": jax.nn.log_sigmoid,
    "softsign": jax.nn.soft_sign,
    "squareplus": jax.nn.squareplus,
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
    "exponential": jnp.exp,
}
# Each a list of (class, arguments) of layers.
NETWORKS = {
    "tanh": [("Dense", 6, "tanh"), ("Dense", 5, "tanh"), ("Dense", 2, "linear")],
    "smooth": [("Dense", 6, "gelu"), ("Dense", 5, "silu"), ("Dense", 4, "mish"), ("Dense", 3, "softplus")],
    "bent": [("Dense", 6, "elu"), ("Dense", 5, "selu"), ("Dense", 4, "softsign"), ("Dense", 1, "squareplus")],
    "kinks": [("Dense", 6, "relu"), ("Dense", 4, "tanh"), ("Dense", 2, "log_sigmoid")],
    "probabilities": [("Dense", 5, "sigmoid"), ("Dense", 4, "softmax")],
    "logarithms": [("Dense", 5, "tanh"), ("Dense", 5, "log_softmax")],
    "normalized": [("Dense", 6, "tanh"), ("LayerNormalization",), ("Dense", 3, "exponential")],
}


def network(layers, weights):
    """Return the function of one row."""

    def apply(x):
        left = list(weights)
        for kind, *arguments in layers:
            one, other = left.pop(0), left.pop(0)
            if kind == "Dense":
                x = ACTIVATIONS[arguments[1]](x @ one + other)
            else:
                x = (x - x.mean()) / jnp.sqrt(x.var() + 1e-3) * one + other
        return x

    return apply


def drawn(layers, generator):
    """Return weights for the layers."""
    weights, width = [], INPUTS
    for kind, *arguments in layers:
        shape = (width, arguments[0]) if kind == "Dense" else (width,)
        width = arguments[0] if kind == "Dense" else width
        weights += [generator.normal(size=shape).round(3), generator.normal(size=width).round(3)]
    return weights


def described(kind, units=None, activation=None):
    """Return what fastnn's layers.deserialize reads."""
    config = {"units": units, "activation": activation} if kind == "Dense" else {"epsilon": 1e-3}
    return {"class_name": kind, "config": config}


def main():
    """Record all networks at the same rows."""
    generator = np.random.default_rng(23)
    x, v = (generator.normal(size=(ROWS, INPUTS)).round(3) for _ in range(2))
    u = generator.normal(size=(ROWS, MOST)).round(3)
    record = {"jax": jax.__version__, "x": x.tolist(), "v": v.tolist(), "u": u.tolist(), "networks": {}}
    for name, layers in NETWORKS.items():
        weights = drawn(layers, generator)
        f = network(layers, weights)
        outputs = len(f(x[0]))

        def product(x, v, u, f=f):
            return jax.jvp(lambda at: jax.vjp(f, at)[1](u)[0], (x,), (v,))[1]

        some = u[:, :outputs]
        answers = {
            "y": jax.vmap(f)(x),
            "vjp": jax.vmap(lambda x, u, f=f: jax.vjp(f, x)[1](u)[0])(x, some),
            "jvp": jax.vmap(lambda x, v, f=f: jax.jvp(f, (x,), (v,))[1])(x, v),
            "jacobian": jax.vmap(jax.jacrev(f))(x),
            "hvp": jax.vmap(product)(x, v, some),
            "hessian": jax.vmap(jax.hessian(lambda x, f=f: f(x)[0]))(x),
        }
        record["networks"][name] = {
            "layers": [described(*layer) for layer in layers],
            "weights": [weight.tolist() for weight in weights],
            **{key: np.asarray(value).tolist() for key, value in answers.items()},
        }
    (HERE / "derivatives.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
