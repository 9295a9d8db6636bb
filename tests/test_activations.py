"""Activations as a user meets them: names, constants, configs, layers, files."""

import numpy as np
import pytest

import fastnn
from fastnn import activations, layers

X = np.random.default_rng(0).normal(size=(40, 6))


@pytest.mark.parametrize("member", activations._registry.members(), ids=lambda m: getattr(m, "__name__", repr(m)))
def test_names_classes_instances_and_configs(member):
    instance = member() if isinstance(member, type) else member
    for identifier in (member, instance, instance.name, instance.name.upper(), activations.serialize(instance)):
        assert activations.get(identifier).engine_name == instance.engine_name
        assert layers.Dense(3, identifier).get_config()["activation"] == instance.name
    assert activations.serialize(instance) == instance.name  # Keras writes an activation as its name
    y = getattr(activations, instance.name)(X.astype(np.float32))
    assert y.dtype == np.float32


@pytest.mark.parametrize(
    "activation",
    [
        activations.LeakyReLU(0.1),
        activations.ReLU(0.1, 2.0, 0.5),
        activations.ELU(0.5),
        activations.CELU(0.5),
        activations.GELU(approximate=True),
    ],
    ids=repr,
)
def test_constants_go_there_and_back(activation, tmp_path):
    config = activations.serialize(activation)
    copy = activations.deserialize(config)
    assert (copy.engine_name, copy.numbers, copy.get_config()) == (
        activation.engine_name,
        activation.numbers,
        activation.get_config(),
    )
    model = fastnn.Sequential(
        [fastnn.Input((6,)), layers.Dense(8, activation), layers.Activation(config), layers.GLU(activation)]
    )
    model.save(tmp_path / "model")
    loaded = fastnn.load_model(tmp_path / "model")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    values = activation.get_config()
    default = activations.get(activation.name)
    np.testing.assert_array_equal(default(X, **values), activation(X))
    np.testing.assert_array_equal(default(X, *values.values()), activation(X))


@pytest.mark.parametrize(
    ("layer", "same"),
    [
        (lambda: layers.ReLU(), activations.relu),
        (lambda: layers.ReLU(2.0, 0.1, 0.5), activations.ReLU(0.1, 2.0, 0.5)),
        (lambda: layers.LeakyReLU(), activations.LeakyReLU(0.3)),
        (lambda: layers.ELU(0.5), activations.ELU(0.5)),
        (lambda: layers.Softmax(), activations.softmax),
    ],
)
def test_layers_of_one_activation(layer, same, tmp_path):
    model = fastnn.Sequential([fastnn.Input((6,)), layers.Dense(5), layer()])
    other = fastnn.Sequential([fastnn.Input((6,)), layers.Dense(5, same)])
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    assert len(model._engine.plan.ops) == 1  # folded into the dense layer
    copy = layers.deserialize(layers.serialize(model.layers[-1]))
    assert type(copy) is type(model.layers[-1])
    assert copy.get_config() == model.layers[-1].get_config()
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(fastnn.load_model(tmp_path / "model").predict(X), model.predict(X))


def test_a_swiglu_block_learns():
    fastnn.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(512, 4)).astype(np.float32)
    y = x[:, :1] * x[:, 1:2]
    block = layers.Residual([layers.Dense(32), layers.GLU("silu"), layers.Dense(8)])
    model = fastnn.Sequential([fastnn.Input((4,)), layers.Dense(8), block, layers.Dense(1)])
    model.compile(fastnn.optimizers.Adam(0.01), "mse")
    losses = model.fit(x, y, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: activations.get("gleu"), ValueError, "'gleu' is unknown; did you mean 'g?elu'"),
        (lambda: activations.get("glu"), ValueError, "'glu' halves .* use the layer fastnn.layers.GLU"),
        (lambda: layers.Dense(3, activations.glu), ValueError, "use the layer fastnn.layers.GLU"),
        (lambda: activations.get(np.tanh), TypeError, "activation must be the name .* got ufunc"),
        (lambda: activations.LeakyReLU(-0.1), ValueError, "negative_slope must be at least 0, got -0.1"),
        (lambda: activations.LeakyReLU("a"), TypeError, "negative_slope must be a number, got str"),
        (lambda: activations.ReLU(max_value=float("nan")), ValueError, "max_value must be at least 0, got nan"),
        (lambda: activations.CELU(0), ValueError, "alpha must be positive"),
        (lambda: activations.GELU(1), TypeError, "approximate must be True or False, got 1"),
        (lambda: activations.sigmoid([1.0], 2), TypeError, "sigmoid takes no argument but x"),
        (
            lambda: activations.get({"class_name": "tanh", "config": {"alpha": 1}}),
            ValueError,
            "'tanh' takes no configuration, got",
        ),
        (lambda: layers.Softmax(axis=0), ValueError, "axis must be -1 or 1"),
        (lambda: layers.GLU("softmax"), ValueError, "must work element by element in a GLU, got 'softmax'"),
        (
            lambda: fastnn.Sequential([fastnn.Input((3,)), layers.GLU()]),
            ValueError,
            "'glu' halves the width of its input, which must be even, got 3",
        ),
    ],
)
def test_bad_arguments_get_one_sentence(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
