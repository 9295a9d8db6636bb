"""A frozen network as a function of autograd: the example runs, and derivatives are right to the second order."""

import numpy as np
import pytest
from embedding import EMBED, imported_examples

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thread_unsafe(reason="sets the process-wide seed"),
    pytest.mark.skipif(not EMBED.is_dir(), reason="needs the examples beside the tests"),
]


@pytest.fixture(scope="module")
def example():
    """A function that imports an example by name."""
    with imported_examples() as importer:
        yield importer


@pytest.fixture(scope="module")
def landscape(example):
    return example("landscape").learn(epochs=30)


def test_torch_checks_first_and_second_derivatives(example, landscape):
    value = example("torch_valleys").Value
    points = torch.tensor(np.random.default_rng(5).uniform(-4, 4, (4, 2)), requires_grad=True)
    np.testing.assert_array_equal(value.apply(points, landscape).detach(), landscape(points.detach().numpy()))
    assert torch.autograd.gradcheck(lambda x: value.apply(x, landscape), points)
    assert torch.autograd.gradgradcheck(lambda x: value.apply(x, landscape), points)


def test_torch_trains_a_module_through_the_network(example, landscape):
    """A linear layer in front learns where to stand: the height falls, and only its own weights move."""
    value = example("torch_valleys").Value
    torch.manual_seed(0)
    layer = torch.nn.Linear(1, 2, dtype=torch.float64)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    one = torch.ones(1, 1, dtype=torch.float64)
    heights = []
    for _ in range(100):
        optimizer.zero_grad()
        height = value.apply(layer(one), landscape).sum()
        height.backward()
        optimizer.step()
        heights.append(height.item())
    assert heights[-1] < 3 < 8 < heights[0]


def test_torch_finds_the_valleys(example, landscape, monkeypatch):
    module = example("torch_valleys")
    monkeypatch.setattr(module, "learn", lambda _: landscape)
    figures = module.main()
    assert figures["flat"].sum() > 50  # of 64
    distances = np.linalg.norm(figures["valleys"][:, None] - example("landscape").VALLEYS, axis=2)
    assert (distances.min(axis=0) < 0.2).all()
