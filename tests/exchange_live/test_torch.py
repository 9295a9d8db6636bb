"""Networks that go from PyTorch to here, and training that goes on: with the real library, where it is installed."""

import copy

import numpy as np
import pytest

import fastnn

torch = pytest.importorskip("torch", "2.2")
nn = torch.nn

pytestmark = pytest.mark.thread_unsafe(reason="PyTorch's own threads are the process's")


def drawn(module, seed=0):
    """The module with other numbers than those that it starts from, which would hide what differs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return module


def rows_for(module, *axes):
    dtype = next(module.parameters(), torch.zeros(1)).dtype
    return torch.randn(32, *axes, generator=torch.Generator().manual_seed(1)).to(dtype)


def answers(module, rows):
    with torch.no_grad():
        return copy.deepcopy(module).eval()(rows).double().numpy().reshape(len(rows), -1)


def check(module, *axes, **options):
    """Hold the model of a module to the module's answers, but for the rounding of its element type."""
    module = drawn(module)
    model = fastnn.from_torch(module, **options)
    rows = rows_for(module, *axes)
    wanted = answers(module, rows)
    tolerance = 1e-10 if model.dtype == "float64" else 1e-5
    np.testing.assert_allclose(
        model.predict(rows.numpy()), wanted, atol=tolerance * max(1, np.abs(wanted).max()), rtol=0
    )
    return model


ACTIVATIONS = [
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.03), nn.ELU(0.7), nn.SELU(), nn.CELU(0.6), nn.GELU(), nn.GELU("tanh"),
    nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Softplus(2.5), nn.Softsign(), nn.Sigmoid(), nn.LogSigmoid(), nn.Tanh(),
    nn.Hardtanh(), nn.Hardtanh(0, 2), nn.Hardtanh(-0.3, 1.2), nn.Hardsigmoid(), nn.Hardswish(), nn.Softmax(-1),
    nn.LogSoftmax(1), nn.Softmin(-1), nn.PReLU(), nn.PReLU(6), nn.GLU(), nn.Identity(),
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_activations(activation):
    check(nn.Sequential(nn.Linear(4, 6), activation), 4)


def test_normalizations_dropout_and_nested_sequentials_in_float64():
    inner = nn.Sequential(
        nn.LayerNorm(6), nn.RMSNorm(6), nn.RMSNorm(6, eps=1e-3, elementwise_affine=False),
        nn.LayerNorm(6, elementwise_affine=False), nn.LayerNorm(6, bias=False), nn.Identity(),
    )  # fmt: skip
    first = [nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6, eps=1e-4, momentum=0.2), nn.ReLU(), nn.Dropout(0.3)]
    last = [nn.BatchNorm1d(6, affine=False), nn.AlphaDropout(0.1), nn.Linear(6, 1)]
    module = nn.Sequential(*first, inner, *last).double()
    module[3].eval()
    model = check(module, 4)
    assert module.training
    assert not module[3].training  # the module is as it was
    assert model.dtype == "float64"
    layer = next(one for one in model.layers if isinstance(one, fastnn.layers.BatchNormalization))
    assert (layer.momentum, layer.epsilon) == (0.8, 1e-4)


def test_rows_of_several_axes():
    check(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), 12)
    check(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), 3, 4, input_shape=(3, 4))
    check(nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (3, 4)), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)), 4)
    check(nn.Sequential(nn.Tanh()), 5, input_shape=5)


@pytest.mark.parametrize("columns", [1, 3])
def test_embeddings(columns):
    module = drawn(nn.Sequential(nn.Embedding(7, 5), nn.Flatten(), nn.Linear(5 * columns, 2)))
    model = fastnn.from_torch(module)
    rows = torch.randint(0, 7, (32, columns), generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(model.predict(rows.numpy()), answers(module, rows), atol=1e-5)


def test_half_precision_becomes_float32():
    module = drawn(nn.Sequential(nn.Linear(4, 3), nn.ReLU())).to(torch.bfloat16)
    model = fastnn.from_torch(module)
    np.testing.assert_array_equal(model.layers[1].kernel, module[0].weight.detach().float().numpy().T)


class Net(nn.Module):
    """Functions between the children, a list of children, sums, and an answer of one axis."""

    def __init__(self):
        super().__init__()
        self.fc1, self.norm, self.out = nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 1)
        self.block = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])

    def forward(self, x):
        x = nn.functional.dropout(torch.relu(self.fc1(x)), 0.2, self.training)
        h = x + torch.tanh(self.block[0](self.norm(x)))
        h = nn.functional.gelu(self.block[1](h), approximate="tanh") + h
        return torch.sigmoid(self.out(h.view(h.size(0), -1))).squeeze(-1)


def test_a_module_that_calls_functions_and_adds_rows():
    model = check(Net(), 4)
    assert [layer.name for layer in model.layers if isinstance(layer, fastnn.layers.Dense)] == ["fc1", "out"]
    assert model.get_layer("dropout").rate == 0.2
    assert sum(isinstance(layer, fastnn.layers.Residual) for layer in model.layers) == 2


class Repeating(nn.Module):
    """Children without weights that run several times, and names that layers have here for other things."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.drop, self.drop_1, self.act = nn.Dropout(0.5), nn.Dropout(0.25), nn.Hardtanh(0, 2)
        self.norm, self.dense, self.optimizer = nn.BatchNorm1d(4, affine=False), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        for layer in self.layers:
            x = self.drop(self.act(layer(self.norm(x))))
        x = x + self.drop_1(self.act(self.norm(x)))
        return self.optimizer(self.drop_1(self.act(self.dense(self.norm(x)))))


def test_a_child_without_weights_may_run_several_times():
    model = check(Repeating(), 4)
    rates = {layer.name: layer.rate for layer in model.layers if isinstance(layer, fastnn.layers.Dropout)}
    assert rates["drop"] == 0.5
    assert sorted(rates.values()) == [0.25, 0.5, 0.5]


class Branching(nn.Module):
    """What cannot be traced: the children's order counts."""

    def __init__(self, factor=1.0, turned=False):
        super().__init__()
        self.b, self.a = (nn.Linear(8, 8), nn.Linear(4, 8)) if turned else (None, None)
        self.c, self.d = (None, None) if turned else (nn.Linear(4, 8), nn.Linear(8, 8))
        self.factor = factor

    def forward(self, x):
        if x.sum() > 1e9:
            return x
        return self.factor * (self.b(self.a(x)) if self.a else self.d(self.c(x)))


class OfItsOwn(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor, self.inner = nn.Parameter(torch.ones(4)), nn.Linear(4, 2)

    def forward(self, x):
        return self.inner(x * self.factor)


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 2)

    def forward(self, x):
        return self.inner(torch.cat([x, x], 1))


class Two(nn.Linear):
    def forward(self, x, y):
        return super().forward(x + y)


def test_what_cannot_be_traced_is_compared():
    check(Branching(), 4)
    with pytest.raises(ValueError, match="does something else than its children"):
        fastnn.from_torch(Branching(factor=2.0))
    with pytest.raises(ValueError, match="module 'a' reads 4 features, and those before it give 8"):
        fastnn.from_torch(Branching(turned=True))


SHARED = nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (OfItsOwn(), "module calls 'mul'|reads 'factor'"),
        (Joined(), "module calls 'cat'"),
        (Two(2, 2), "takes 2 inputs"),
        (nn.Sequential(SHARED, SHARED), "one parameter for '0.weight' and '1.weight'"),
        (nn.Sequential(nn.Conv1d(1, 2, 3)), "module '0' is a Conv1d"),
        (nn.LSTM(3, 4), "is a LSTM"),
        (nn.Bilinear(2, 2, 2), "did you mean 'Linear'"),
        (nn.Sequential(nn.Linear(4, 2), nn.Softmax(0)), "dim=0"),
        (nn.Sequential(nn.Linear(4, 2), nn.Linear(4, 2)), "reads 4 features, and those before it give 2"),
        (nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)), "track_running_stats=False"),
        (nn.Sequential(nn.BatchNorm1d(3, momentum=None)), "momentum=None"),
        (nn.Sequential(nn.LayerNorm((3, 4))), "axes of shape"),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(1.0)), "drops all elements"),
        (nn.Sequential(nn.Linear(2, 2), nn.Embedding(3, 2)), "must be the first"),
        (nn.Sequential(nn.Embedding(3, 2, max_norm=1.0)), "max_norm"),
        (nn.Sequential(nn.ReLU()), "give input_shape"),
        (nn.Sequential(), "give input_shape"),
        (nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64)), "complex"),
    ],
)
def test_what_no_layer_does_is_named(module, message):
    with pytest.raises(ValueError, match=message):
        fastnn.from_torch(module)


class Linear(nn.Module):
    """A class of one's own with the name of another one."""

    def forward(self, x):
        return x * x if x.sum() < 1e9 else x  # which cannot be traced


def test_a_class_of_a_known_name_is_not_taken_for_it():
    with pytest.raises(ValueError, match=r"is a Linear, which no layer .* only those of torch\.nn have a twin"):
        fastnn.from_torch(nn.Sequential(nn.Linear(4, 4), Linear()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_torchscript_has_compiled_is_named(tmp_path):
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    with pytest.raises(ValueError, match="module is compiled by TorchScript, and no longer says its layers"):
        fastnn.from_torch(scripted)
    scripted.save(tmp_path / "m.pt")
    for read in (fastnn.load_torch, fastnn.load_model):
        with pytest.raises(fastnn.ModelFileError, match="is an archive of TorchScript, which holds code"):
            read(tmp_path / "m.pt")


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_a_module_without_shapes_is_refused():
    with pytest.raises(ValueError, match="without a shape"):
        fastnn.from_torch(nn.LazyLinear(3))


def test_parametrized_modules_have_their_numbers():
    check(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), 4)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_of_sgd_are_the_same(momentum):
    """In float64 the two differ by rounding alone after 12 steps."""
    module = drawn(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 2))).double()
    model = fastnn.from_torch(module)
    nesterov = momentum > 0
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=momentum, nesterov=nesterov)
    model.compile(fastnn.optimizers.SGD(0.1, momentum=momentum, nesterov=nesterov), "mse")
    x, y = rows_for(module, 4), rows_for(module, 2)
    model.fit(x.numpy(), y.numpy(), batch_size=8, epochs=3, shuffle=False, verbose=0)
    for _ in range(3):
        for start in range(0, len(x), 8):
            optimizer.zero_grad()
            nn.functional.mse_loss(module(x[start : start + 8]), y[start : start + 8]).backward()
            optimizer.step()
    np.testing.assert_allclose(model.predict(x.numpy()), answers(module, x), atol=1e-10)


def test_parameters_without_gradient_are_not_trained():
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 2))
    for frozen in (module[0], module[2]):
        frozen.requires_grad_(False)
    model = fastnn.from_torch(module)
    assert [layer.trainable for layer in model.layers if layer.weights] == [False, False, True]
    assert len(model.trainable_weights) == 2


@pytest.mark.parametrize("model", [None, "given"])
def test_an_order_of_a_file_that_its_names_contradict_is_refused(model, tmp_path):
    """The second layer may have been made before the first; where shapes tell, nothing is contradicted."""
    alike = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    others = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    for k, (module, widths) in enumerate([(alike, (4, 4)), (others, (3, 2))]):
        path = tmp_path / f"{k}.pt"
        torch.save(dict(reversed(module.state_dict().items())), path)
        stack = [fastnn.layers.Dense(widths[0], "tanh", input_shape=(4,)), fastnn.layers.Dense(widths[1])]
        options = {"activation": "tanh"} if model is None else {"model": fastnn.Sequential(stack)}
        if module is alike:
            with pytest.raises(ValueError, match=r"which comes first|in more than one order"):
                fastnn.load_torch(path, **options)
            continue
        read = fastnn.load_torch(path, **options)
        x = torch.randn(5, 4)
        np.testing.assert_allclose(read.predict(x.numpy()), module(x).detach().numpy(), atol=1e-6)
