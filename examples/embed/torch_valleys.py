"""PyTorch: a frozen network as a function of autograd, with first and second derivatives.

L-BFGS of torch.optim takes 64 points down the landscape of landscape.py. The network may stand anywhere in a module:
behind one that is trained through it, or in a loss that holds its slopes.

    python examples/embed/torch_valleys.py     # needs PyTorch
"""

from __future__ import annotations

import numpy as np
import torch
from landscape import learn


class Value(torch.autograd.Function):
    """y = network(x) for x of shape (rows, inputs)."""

    @staticmethod
    def forward(ctx, x, network):
        """The outputs."""
        ctx.save_for_backward(x)
        ctx.network = network
        return torch.from_numpy(network(x.detach().numpy()))

    @staticmethod
    def backward(ctx, u):
        """The gradient, itself a function of autograd."""
        return Gradient.apply(*ctx.saved_tensors, u, ctx.network), None


class Gradient(torch.autograd.Function):
    """uᵀ ∂y/∂x, which may be differentiated once more, by x and by u."""

    @staticmethod
    def forward(ctx, x, u, network):
        """The gradient of u · y."""
        ctx.save_for_backward(x, u)
        ctx.network = network
        return torch.from_numpy(network.vjp(x.detach().numpy(), u.detach().numpy())[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, w):
        """Its gradients by x and by u, times w."""
        x, u = (kept.detach().numpy() for kept in ctx.saved_tensors)
        by_x = ctx.network.hvp(x, w.numpy(), u)[1]
        by_u = ctx.network.jvp(x, w.numpy())[1]
        return torch.from_numpy(by_x), torch.from_numpy(by_u), None


def main(epochs: int = 100) -> dict:
    """Learn, descend, print; return the figures."""
    network = learn(epochs)
    points = torch.from_numpy(np.random.default_rng(1).uniform(-5, 5, (64, 2))).requires_grad_()
    optimizer = torch.optim.LBFGS([points], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def heights():
        optimizer.zero_grad()
        total = Value.apply(points, network).sum()
        total.backward()
        return total

    optimizer.step(heights)
    ends = points.detach().numpy()
    flat = points.grad.abs().amax(dim=1).numpy() < 1e-4
    valleys = np.unique(ends[flat].round(2), axis=0)
    print(f"{flat.sum()} of {len(ends)} points end where the slope is below 1e-4, in {len(valleys)} valleys:")
    print(valleys)
    return {"network": network, "valleys": valleys, "flat": flat}


if __name__ == "__main__":
    main()
