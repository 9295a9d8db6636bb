"""Columns of numbers, as the packages of the papers prepare them.

The script needs torch, rtdl_num_embeddings, pytabkit and scikit-learn, and is run by itself: python record_columns.py.
It writes columns.npz: rows that a preparation is fitted to, and other rows; of RealMLP's preparation what it makes of
the latter; and of piecewise linear encodings the edges, the encoding, and embeddings with their parameters and
gradients. tests/test_columns_of_numbers.py compares them with the layers.
"""

from importlib import metadata
from pathlib import Path

import numpy as np
import rtdl_num_embeddings
import torch
from pytabkit.models.data.data import DictDataset, TensorInfo
from pytabkit.models.nn_models.models import smooth_clip_func
from pytabkit.models.nn_models.pipeline import MedianCenterFactory, RobustScaleFactory

ROWS, BINS, UNITS = 200, 6, 3
TREE = {"min_samples_leaf": 64, "min_impurity_decrease": 1e-4, "random_state": 0}


def prepared(fitted, x):
    """Return what RealMLP makes of x, prepared as it was fitted to other rows."""
    infos = {"x_cont": TensorInfo(feat_shape=[fitted.shape[1]])}
    data = DictDataset({"x_cont": fitted}, infos)
    for factory in (MedianCenterFactory(), RobustScaleFactory()):
        layer = factory._fit(data)
        data = DictDataset({"x_cont": layer.forward_cont(data.tensors["x_cont"])}, infos)
        x = layer.forward_cont(x)
    return smooth_clip_func(x)


def encodings(fitted, x, classes, numbers):
    """Yield the arrays of each way to make bins, by name."""
    ways = {
        "quantiles": {},
        "classes": {"tree_kwargs": TREE, "y": classes, "regression": False},
        "numbers": {"tree_kwargs": TREE, "y": numbers, "regression": True},
    }
    for name, options in ways.items():
        edges = rtdl_num_embeddings.compute_bins(fitted, BINS, **options)
        yield from ((f"{name}/edges{k}", column) for k, column in enumerate(edges))
        yield f"{name}/y", rtdl_num_embeddings.PiecewiseLinearEncoding(edges).double()(x)
        for activation in (False, True):
            module = rtdl_num_embeddings.PiecewiseLinearEmbeddings(edges, UNITS, activation=activation, version="A")
            module = module.double()
            kind = f"{name}/{'relu' if activation else 'linear'}"
            y = module(x).flatten(1)
            upstream = torch.randn_like(y)
            kernel, bias = module.linear.weight, module.linear.bias
            yield f"{kind}/upstream", upstream
            yield from ((f"{kind}/{part}", array) for part, array in (("kernel", kernel), ("bias", bias), ("y", y)))
            gradients = torch.autograd.grad(y, [x, kernel, bias], upstream)
            yield from ((f"{kind}/d{part}", g) for part, g in zip(("x", "kernel", "bias"), gradients, strict=True))


def main():
    """Write columns.npz."""
    torch.manual_seed(0)
    packages = ("rtdl_num_embeddings", "pytabkit", "scikit-learn", "torch")
    drawn = torch.randn(ROWS + 20, 5, dtype=torch.float64)
    drawn[:, 1] = drawn[:, 1].exp()
    drawn[:, 2] = (2 * drawn[:, 2]).round()
    drawn[:, 3] = (drawn[:, 3] > 1).double()  # the quartiles are equal
    drawn[:, 4] = 7.0
    fitted, x = drawn[:ROWS], (1.5 * drawn[ROWS:])
    classes, numbers = (fitted[:, 0] + fitted[:, 1] > 1).long() + (fitted[:, 2] > 0).long(), fitted[:, :3].sum(1)
    arrays = {"versions": np.array([f"{name} {metadata.version(name)}" for name in packages])}
    arrays |= {"fitted": fitted, "x": x, "classes": classes, "numbers": numbers, "prepared": prepared(fitted, x)}
    few = x[:, :4].clone().requires_grad_()  # the packages refuse bins of a constant column
    arrays |= dict(encodings(fitted[:, :4], few, classes, numbers))
    arrays = {key: a.detach().numpy() if isinstance(a, torch.Tensor) else a for key, a in arrays.items()}
    np.savez_compressed(Path(__file__).parent / "columns.npz", **arrays)


if __name__ == "__main__":
    main()
