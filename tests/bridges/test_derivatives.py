"""A frozen network within JAX, Numba and CasADi: the examples run, and derivatives are those of the formulas."""

import shutil

import numpy as np
import pytest
from embedding import imported_examples

casadi = pytest.importorskip("casadi")
jax = pytest.importorskip("jax")
pytest.importorskip("numba")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries themselves


@pytest.fixture(scope="module")
def example():
    """A function that imports an example by name."""
    with imported_examples() as importer:
        yield importer


@pytest.fixture(scope="module")
def landscape(example):
    return example("landscape").learn(epochs=30)


POINTS = np.random.default_rng(5).uniform(-4, 4, (6, 2))


def differences(function, x, step=1e-5):
    """Central differences of function(x) along the last axis of x, in float64: about nine digits are right."""
    units = step * np.eye(x.shape[-1])
    return np.stack([(function(x + unit) - function(x - unit)) / (2 * step) for unit in units], axis=-1)


# ---- JAX ----


@pytest.fixture(scope="module")
def through_jax(example, landscape):
    return example("jax_valleys").as_jax(landscape)


def test_jax_differentiates_the_network_once_and_twice(through_jax, landscape):
    def height(point):
        return through_jax(point)[0]

    for transform in (jax.vmap, lambda call: jax.jit(jax.vmap(call))):
        np.testing.assert_array_equal(transform(height)(POINTS), landscape(POINTS)[:, 0])
        slopes = transform(jax.grad(height))(POINTS)
        np.testing.assert_allclose(slopes, differences(lambda x: landscape(x)[:, 0], POINTS), rtol=1e-6, atol=1e-7)
        curvatures = transform(jax.jacrev(jax.grad(height)))(POINTS)
        expected = differences(lambda x: landscape.value_and_gradient(x)[1], POINTS)
        np.testing.assert_allclose(curvatures, expected, rtol=1e-6, atol=1e-7)


def test_jax_differentiates_a_loss_of_slopes(through_jax, landscape):
    """As in training with gradients: d/dx |∇ network(x)|² = 2 H ∇ network(x), through both rules."""
    loss = jax.grad(lambda x: (jax.grad(lambda z: through_jax(z).sum())(x) ** 2).sum())
    for point in POINTS[:2]:
        slope, curvature = landscape.value_and_gradient(point)[1], landscape.hessian(point)[1]
        np.testing.assert_allclose(jax.jit(loss)(point), 2 * curvature @ slope, rtol=1e-12, atol=1e-12)


def test_jax_finds_the_valleys(example, landscape, monkeypatch):
    module = example("jax_valleys")
    monkeypatch.setattr(module, "learn", lambda _: landscape)
    figures = module.main()
    assert figures["flat"].sum() > 50  # of 64; others end on a ridge or at an edge
    valleys = example("landscape").VALLEYS
    distances = np.linalg.norm(figures["valleys"][:, None] - valleys, axis=2)
    assert (distances.min(axis=0) < 0.2).all()


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


# ---- CasADi ----


@pytest.fixture(scope="module")
def crane(example, tmp_path_factory):
    """The example's network before it is planned with, as CasADi and Python have it."""
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    module = example("casadi_crane")
    predictor = module.learn(400, 60)
    return module.external(predictor, tmp_path_factory.mktemp("crane")), predictor


STATES = np.random.default_rng(6).uniform(-0.6, 0.6, (5, 3))


def test_casadi_differentiates_the_network_once_and_twice(crane):
    network, predictor = crane
    x, weights = casadi.MX.sym("x", 3), casadi.MX.sym("weights", 2)
    y = network(x)
    total = casadi.dot(weights, y)
    hessian, gradient = casadi.hessian(total, x)
    ask = casadi.Function("ask", [x, weights], [y, casadi.jacobian(y, x), gradient, hessian])
    u = np.array([0.7, -1.3])
    for state in STATES:
        outputs, jacobian, reverse, curvature = map(np.array, ask(state, u))
        np.testing.assert_array_equal(outputs.ravel(), predictor(state))
        np.testing.assert_allclose(jacobian, differences(predictor, state), rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(reverse.ravel(), u @ jacobian, rtol=1e-12, atol=1e-14)
        expected = differences(lambda at: predictor.vjp(at, u)[1], state)
        np.testing.assert_allclose(curvature, expected, rtol=1e-6, atol=1e-7)


def test_casadi_differentiates_by_the_weights_of_outputs_too(crane):
    """The gradient of u · y is linear in u: its derivative by u is the transposed Jacobian."""
    network, predictor = crane
    x, u = casadi.MX.sym("x", 3), casadi.MX.sym("u", 2)
    gradient = casadi.gradient(casadi.dot(u, network(x)), x)
    ask = casadi.Function("ask", [x, u], [casadi.jacobian(gradient, u)])
    np.testing.assert_allclose(ask(STATES[0], [1, 2]), predictor.jacobian(STATES[0])[1].T, rtol=1e-12, atol=1e-14)


def test_casadi_solves_the_plan_of_a_crane_by_ipopt_and_by_sqp(example):
    figures = example("casadi_crane").main(examples=1000, epochs=150)
    assert figures["solved"]
    assert figures["effort"] == pytest.approx(figures["effort by SQP"], rel=1e-6)  # one optimum, found in two ways
    assert max(figures["iterations"], figures["iterations of SQP"]) < 30
    place, speed, angle, rate = figures["end"]
    assert place == pytest.approx(4, abs=1e-6)
    assert speed == pytest.approx(0, abs=1e-6)
    assert abs(angle) < 0.02  # radians, by the pendulum's own equation; at 1.25 m/s² the load hangs 0.13 aslant
    assert abs(rate) < 0.05


def test_casadi_refuses_a_network_that_is_not_there(example, tmp_path, capfd):
    """It says why, and computes nothing."""
    module = example("casadi_crane")

    class Nothing:
        @staticmethod
        def save(path):
            path.write_bytes(b"no network")

    with pytest.raises(Exception, match="network"):
        module.external(Nothing, tmp_path)(np.zeros(3))
    assert "network.fnn" in capfd.readouterr().err
