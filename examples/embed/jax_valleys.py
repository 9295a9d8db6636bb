"""JAX: a frozen network as a function of JAX, with first and second derivatives, under jit and vmap.

From 64 places at once Newton's method goes down the landscape of landscape.py, in a loop that JAX compiles and that
calls the network from within. The derivatives are the network's own (custom_vjp); none of them is traced or guessed.

    python examples/embed/jax_valleys.py     # needs JAX
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from landscape import learn

import fastnn

jax.config.update("jax_enable_x64", True)  # the network computes in float64


def as_jax(network: fastnn.predictor.Predictor) -> Callable[[jax.Array], jax.Array]:
    """The network for x of shape (..., inputs); reverse differentiation goes twice: grad, jacrev, jacrev(grad)."""

    def call(method, width, *arrays):
        """What a method of the network says of rows, outside of JAX's program; the rows may lie in any shape."""

        def outside(*given):
            rows = [np.asarray(array).reshape(-1, array.shape[-1]) for array in given]
            return method(*rows).reshape(*given[0].shape[:-1], width)

        shape = jax.ShapeDtypeStruct((*arrays[0].shape[:-1], width), arrays[0].dtype)
        return jax.pure_callback(outside, shape, *arrays, vmap_method="broadcast_all")

    @jax.custom_vjp
    def value(x):
        return call(network, network.outputs, x)

    @jax.custom_vjp
    def gradient(x, u):  # uᵀ ∂y/∂x
        return call(lambda *rows: network.vjp(*rows)[1], network.inputs, x, u)

    def of_gradient(kept, w):  # its own derivatives by x and by u, times w
        x, u = kept
        by_x = call(lambda *rows: network.hvp(*rows)[1], network.inputs, x, w, u)
        by_u = call(lambda *rows: network.jvp(*rows)[1], network.outputs, x, w)
        return by_x, by_u

    value.defvjp(lambda x: (value(x), x), lambda x, u: (gradient(x, u),))
    gradient.defvjp(lambda x, u: (gradient(x, u), (x, u)), of_gradient)
    return value


def main(epochs: int = 100) -> dict:
    """Learn, descend, print; return the figures."""
    predictor = learn(epochs)
    network = as_jax(predictor)

    def height(point):
        return network(point)[0]

    def step(_, point):
        slope, curvature = jax.grad(height)(point), jax.jacrev(jax.grad(height))(point)
        directions, frame = jnp.linalg.eigh(curvature)
        newton = -frame @ (
            (frame.T @ slope) / jnp.maximum(jnp.abs(directions), 0.5)
        )  # downhill, whatever the curvature
        return jnp.clip(point + newton / jnp.maximum(1, jnp.linalg.norm(newton)), -5, 5)

    starts = np.random.default_rng(1).uniform(-5, 5, (64, 2))
    descend = jax.jit(jax.vmap(lambda start: jax.lax.fori_loop(0, 40, step, start)))
    ends = np.asarray(descend(starts))
    slopes = np.asarray(jax.vmap(jax.grad(height))(jnp.asarray(ends)))
    flat = np.abs(slopes).max(axis=1) < 1e-9
    valleys = np.unique(ends[flat].round(3), axis=0)
    print(f"{flat.sum()} of {len(ends)} descents end where the slope is below 1e-9, in {len(valleys)} valleys:")
    print(valleys)
    return {"network": network, "predictor": predictor, "valleys": valleys, "flat": flat}


if __name__ == "__main__":
    main()
