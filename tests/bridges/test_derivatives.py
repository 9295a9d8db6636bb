"""A frozen network within Numba: the example runs, and derivatives are those of the formulas."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

EMBED = Path(__file__).parents[2] / "examples" / "embed"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries themselves


@pytest.fixture(scope="module")
def example():
    """A function that imports an example by name."""
    sys.path.insert(0, str(EMBED))
    yield importlib.import_module
    sys.path.remove(str(EMBED))


@pytest.fixture(scope="module")
def landscape(example):
    return example("landscape").learn(epochs=30)


POINTS = np.random.default_rng(5).uniform(-4, 4, (6, 2))


# ---- Numba ----


def test_numba_draws_from_the_density_of_the_network(example, landscape, monkeypatch):
    module = example("numba_sampler")
    monkeypatch.setattr(module, "learn", lambda _: landscape)
    figures = module.main(draws=40_000)
    assert figures["moved"] > 0.9
    # The chain changes its valley about every ten draws. 4,000 visits, each with a deviation of about 3 from the means
    # and of 7 from the mean squares, give 0.05 and 0.11; four times that is allowed.
    np.testing.assert_allclose(figures["drawn"][:2], figures["exact"][:2], atol=0.2)
    np.testing.assert_allclose(figures["drawn"][2:], figures["exact"][2:], atol=0.5)


def test_numba_calls_by_the_address_of_a_predictor(example, landscape):
    """The function that the compiled loop calls gives the bits of the predictor's own methods."""
    fnn_vjp = example("numba_sampler").fnn_vjp
    one, value, slope = np.ones(1), np.empty(1), np.empty(2)
    for point in POINTS:
        at = point.copy()
        assert fnn_vjp(landscape.address, at.ctypes, 1, one.ctypes, value.ctypes, slope.ctypes) == 0
        np.testing.assert_array_equal(value[0], landscape(point)[0])
        np.testing.assert_array_equal(slope, landscape.vjp(point, one)[1])
