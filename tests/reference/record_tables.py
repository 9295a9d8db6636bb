"""Layers of networks for tables, as the packages of their papers compute them.

The script needs torch, rtdl_num_embeddings, pytabkit and tabm, and is run by itself: python record_tables.py. It writes
tables.npz with the arrays of each case in float64: x, the gradient by the output, the parameters, the output, and the
gradients by x and by the parameters. tests/test_column_embedding.py and tests/test_members.py say which layers these
cases are.
"""

from importlib import metadata
from pathlib import Path

import numpy as np
import rtdl_num_embeddings
import tabm
import torch
from pytabkit.models.nn_models.base import Variable
from pytabkit.models.nn_models.nn import PLREmbeddingsLayerCosBias

ROWS, COLUMNS = 6, 3


def pbld():
    """Return pytabkit's PBLD as a function of x, and its parameters: 5 frequencies, 2 numbers of a column beside x."""
    drawn = [Variable(torch.randn(COLUMNS, *shape, dtype=torch.float64)) for shape in ((1, 5), (1, 5), (5, 2), (1, 2))]
    layer = PLREmbeddingsLayerCosBias(
        fitter=None,
        weight_1=drawn[0],
        bias_1=drawn[1],
        weight_2=drawn[2],
        bias_2=drawn[3],
        plr_act_name="linear",
        plr_use_densenet=True,
    )
    return layer.forward_cont, drawn


def of_module(module):
    """Return a module of rtdl_num_embeddings as a function of x with flat rows, and its parameters."""
    module = module.double()
    return lambda x: module(x).flatten(1), list(module.parameters())


def cases():
    """Yield the name of each case, its function and its parameters."""
    periodic = {"n_frequencies": 4, "frequency_init_scale": 0.3}
    yield "PBLD", *pbld()
    for name, options in {
        "PLR": {"activation": True, "lite": False},
        "PL": {"activation": False, "lite": False},
        "PLR lite": {"activation": True, "lite": True},
    }.items():
        yield name, *of_module(rtdl_num_embeddings.PeriodicEmbeddings(COLUMNS, 5, **periodic, **options))
    yield "L", *of_module(rtdl_num_embeddings.LinearEmbeddings(COLUMNS, 4))
    yield "LR", *of_module(rtdl_num_embeddings.LinearReLUEmbeddings(COLUMNS, 4))
    for name, layer in {
        "TabM": tabm.LinearBatchEnsemble(COLUMNS, 5, k=4, scaling_init="normal"),
        "TabM heads": tabm.LinearEnsemble(COLUMNS, 5, k=4),
    }.items():
        scale = tabm.ElementwiseAffine((4, COLUMNS), bias=False, scaling_init="normal")
        yield name, *of_module(torch.nn.Sequential(tabm.EnsembleView(k=4), scale, layer))


def main():
    """Write tables.npz."""
    torch.manual_seed(0)
    arrays = {
        "versions": np.array(
            [f"{p} {metadata.version(p)}" for p in ("rtdl_num_embeddings", "pytabkit", "tabm", "torch")]
        )
    }
    for name, function, parameters in cases():
        x = torch.randn(ROWS, COLUMNS, dtype=torch.float64, requires_grad=True)
        y = function(x)
        upstream = torch.randn_like(y)
        gradients = torch.autograd.grad(y, [x, *parameters], upstream)
        arrays |= {f"{name}/x": x, f"{name}/upstream": upstream, f"{name}/y": y, f"{name}/dx": gradients[0]}
        arrays |= {f"{name}/p{k}": p for k, p in enumerate(parameters)}
        arrays |= {f"{name}/dp{k}": g for k, g in enumerate(gradients[1:])}
    arrays = {key: a.detach().numpy() if isinstance(a, torch.Tensor) else a for key, a in arrays.items()}
    np.savez_compressed(Path(__file__).parent / "tables.npz", **arrays)


if __name__ == "__main__":
    main()
