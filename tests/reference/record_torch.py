"""Records files of PyTorch's weights, and what its modules answer; tests/exchange/test_torch.py reads both.

Needs torch and safetensors, and is run from this folder: ``python record_torch.py``. The files of ``torch.save`` are
those of its versions before 1.6 (a pickle) and from then on (a zip file); only tests/exchange_live, which has PyTorch,
reads these.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).parent / "files_torch"


class Residual(nn.Module):
    """x + f(x), with children that are not in the order of their names."""

    def __init__(self):
        super().__init__()
        self.norm, self.expand, self.contract = nn.LayerNorm(6), nn.Linear(6, 9), nn.Linear(9, 6)

    def forward(self, x):
        return x + self.contract(torch.relu(self.expand(self.norm(x))))


def chain():
    return nn.Sequential(nn.Linear(4, 7), nn.GELU(), nn.Linear(7, 5, bias=False), nn.GELU(), nn.Linear(5, 3))


MODULES = {
    "chain": chain,
    "chain_float64": lambda: chain().double(),
    "chain_bfloat16": lambda: chain().bfloat16(),
    "chain_float16": lambda: chain().half(),
    # twelve layers, whose names are not in the order of text
    "deep": lambda: nn.Sequential(*[part for _ in range(12) for part in (nn.Linear(4, 4), nn.Tanh())]),
    "named": lambda: nn.Sequential(
        OrderedDict(start=nn.Linear(4, 8), act=nn.SiLU(), hidden=nn.Linear(8, 6), act2=nn.SiLU(), end=nn.Linear(6, 2))
    ),
    "normalized": lambda: nn.Sequential(
        nn.Linear(4, 6),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.LayerNorm(6),
        nn.RMSNorm(6, eps=1e-6),
        nn.PReLU(),
        nn.Linear(6, 1),
    ),
    "residual": lambda: nn.Sequential(nn.Linear(4, 6), Residual(), Residual(), nn.Linear(6, 2)),
    "embedding": lambda: nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(6, 2)),
}


def drawn(module):
    """The module with numbers that none of its parameters starts from."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.5)
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape) + 0.5)
    return module.eval()


def main():
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    answers = {"torch": np.array(torch.__version__)}
    for name, make in MODULES.items():
        module = drawn(make())
        save_file(module.state_dict(), FOLDER / f"{name}.safetensors")
        rows = torch.randint(0, 9, (8, 2)) if name == "embedding" else torch.randn(8, 4).double()
        # 16 bits become float32 here: the same numbers, computed with more digits
        wide = module if name == "chain_float64" else module.float()
        with torch.no_grad():
            y = wide(rows if name == "embedding" else rows.to(next(wide.parameters()).dtype))
        answers |= {f"{name}/x": rows.numpy(), f"{name}/y": y.double().numpy()}
        if name in ("chain", "residual"):
            torch.save(module.state_dict(), FOLDER / f"{name}.pt")
            old = {"epoch": 3, "state_dict": module.state_dict()}
            torch.save(old, FOLDER / f"{name}_1.5.pth", _use_new_zipfile_serialization=False)
    np.savez_compressed(FOLDER / "answers.npz", **answers)


if __name__ == "__main__":
    main()
