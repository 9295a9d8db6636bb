"""Activations, normalizations and gates however they are taken apart: load_onnx finds the layer."""

import tempfile

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import fastnn
from fastnn import layers

ROWS, WIDTH = 40, 6
CLOSE = {"rtol": 2e-5, "atol": 2e-5}  # float32 on both sides, in other orders


class Draft:
    """A graph that is being written."""

    def __init__(self, opset=15):
        self.nodes, self.tensors, self.opset = [], [], opset

    def constant(self, values, dtype=np.float32):
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return Term(self, name)

    def op(self, kind, *inputs, outputs=1, **attributes):
        """Return the output of a new node, or several."""
        names = [self.term(value).name for value in inputs]
        given = [f"t{len(self.nodes)}_{k}" for k in range(outputs)]
        domain = "com.microsoft" if kind in ("FastGelu", "QuickGelu", "BiasGelu") else ""
        self.nodes.append(helper.make_node(kind, names, given, domain=domain, **attributes))
        terms = [Term(self, name) for name in given]
        return terms[0] if outputs == 1 else terms

    def term(self, value):
        return value if isinstance(value, Term) else self.constant(value)

    def message(self, outputs, width=WIDTH):
        rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", width])
        given = [helper.make_tensor_value_info(term.name, TensorProto.FLOAT, None) for term in outputs]
        graph = helper.make_graph(self.nodes, "drafted", [rows], given, self.tensors)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


class Term:
    """A value of a draft, with Python's arithmetic."""

    __array_ufunc__ = None  # an array times a term is a term

    def __init__(self, draft, name):
        self.draft, self.name = draft, name

    def __add__(self, other):
        return self.draft.op("Add", self, other)

    def __radd__(self, other):
        return self.draft.op("Add", other, self)

    def __sub__(self, other):
        return self.draft.op("Sub", self, other)

    def __rsub__(self, other):
        return self.draft.op("Sub", other, self)

    def __mul__(self, other):
        return self.draft.op("Mul", self, other)

    def __rmul__(self, other):
        return self.draft.op("Mul", other, self)

    def __truediv__(self, other):
        return self.draft.op("Div", self, other)

    def __rtruediv__(self, other):
        return self.draft.op("Div", other, self)

    def __neg__(self):
        return self.draft.op("Neg", self)

    def __pow__(self, other):
        return self.draft.op("Pow", self, other)

    def __getattr__(self, kind):
        """Return a function that applies an operator: ``x.Sigmoid()``, ``x.Clip(0, 6)``."""
        if not kind[0].isupper():
            raise AttributeError(kind)
        return lambda *others, **attributes: self.draft.op(kind, self, *others, **attributes)


def written(write, opset=15, width=WIDTH):
    """Return the model of a graph, a Dense before it, and ONNX Runtime's answers to rows."""
    draft = Draft(opset)
    generator = np.random.default_rng(len(write.__code__.co_code))
    kernel = draft.constant(0.4 * generator.normal(size=(width, width)))
    bias = draft.constant(generator.normal(size=width))
    outputs = write(Term(draft, "x").MatMul(kernel) + bias)
    message = draft.message(outputs if isinstance(outputs, list) else [outputs], width)
    x = 2 * generator.normal(size=(ROWS, width)).astype(np.float32)
    return loaded(message), x, answers(message, x)


def loaded(message, **options):
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(message.SerializeToString())
        file.flush()
        return fastnn.load_onnx(file.name, **options)


def answers(message, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(message.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


def last_of(model):
    """Return the name of the activation that the model ends with, or of its last layer."""
    layer = model.layers[-1]
    function = layer.activation.name if isinstance(layer, (layers.Dense, layers.Activation)) else "linear"
    return type(layer).__name__ if function == "linear" else function


ROOT, TANH = float(np.sqrt(0.5)), float(np.sqrt(2 / np.pi))

# how an activation may be written, and its name
SPELLINGS = {
    "gelu, of PyTorch": ("gelu", lambda x: x * ((x / 2**0.5).Erf() + 1.0) * 0.5),
    "gelu, half first": ("gelu", lambda x: (0.5 * x) * (1.0 + (x * ROOT).Erf())),
    "gelu, by F": ("gelu", lambda x: x * (0.5 * (1.0 + (x * ROOT).Erf()))),
    "gelu, multiplied out": ("gelu", lambda x: 0.5 * x + x * (0.5 * (ROOT * x).Erf())),
    "gelu, of a negative": ("gelu", lambda x: x * (1.0 - (-x * ROOT).Erf()) / 2.0),
    "gelu by tanh": ("gelu", lambda x: 0.5 * x * (1.0 + (TANH * (x + 0.044715 * x**3.0)).Tanh())),
    "gelu by tanh, squared": ("gelu", lambda x: (x * (1.0 + (x * (x * x * 0.035677408 + TANH)).Tanh())) * 0.5),
    "gelu by sigmoid": ("gelu", lambda x: x * (x * (1.5957691 + 0.07135481 * (x * x))).Sigmoid()),
    "gelu of ONNX Runtime": ("gelu", lambda x: x.FastGelu()),
    "silu": ("silu", lambda x: x * x.Sigmoid()),
    "silu, a quotient": ("silu", lambda x: x / (1.0 + (-x).Exp())),
    "sigmoid": ("sigmoid", lambda x: 1.0 / (1.0 + (-x).Exp())),
    "sigmoid, reciprocal": ("sigmoid", lambda x: ((-x).Exp() + 1.0).Reciprocal()),
    "sigmoid by tanh": ("sigmoid", lambda x: 0.5 + (x / 2.0).Tanh() * 0.5),
    "tanh by sigmoid": ("tanh", lambda x: 2.0 * (2.0 * x).Sigmoid() - 1.0),
    "mish": ("mish", lambda x: x * x.Softplus().Tanh()),
    "mish, by log": ("mish", lambda x: (1.0 + x.Exp()).Log().Tanh() * x),
    "softplus": ("softplus", lambda x: (x.Exp() + 1.0).Log()),
    "softplus, stable": ("softplus", lambda x: x.Relu() + (1.0 + (-x.Abs()).Exp()).Log()),
    "softplus of PyTorch": ("softplus", lambda x: x.Greater(20.0).Where(x, x.Softplus())),
    "log sigmoid": ("log_sigmoid", lambda x: x.Sigmoid().Log()),
    "log sigmoid, softplus": ("log_sigmoid", lambda x: -(-x).Softplus()),
    "softsign": ("softsign", lambda x: x / (1.0 + x.Abs())),
    "relu, max": ("relu", lambda x: x.Max(0.0)),
    "relu, clip": ("relu", lambda x: x.draft.op("Clip", x, 0.0)),
    "relu, half of |x| + x": ("relu", lambda x: (x + x.Abs()) * 0.5),
    "relu of a relu": ("relu", lambda x: x.Relu().Relu()),
    "relu, where": ("relu", lambda x: x.Greater(0.0).Where(x, 0.0)),
    "relu6": ("relu6", lambda x: x.Clip(0.0, 6.0)),
    "relu6, min and max": ("relu6", lambda x: x.Max(0.0).Min(6.0)),
    "relu6, max and min": ("relu6", lambda x: x.Min(6.0).Max(0.0)),
    "leaky relu": ("leaky_relu", lambda x: x.Max(0.1 * x)),
    "leaky relu, of two": ("leaky_relu", lambda x: x.Relu() - 0.2 * (-x).Relu()),
    "leaky relu, where": ("leaky_relu", lambda x: x.GreaterOrEqual(0.0).Where(x, x * 0.3)),
    "relu with a slope, clipped": ("relu", lambda x: x.LeakyRelu(alpha=0.1).Min(2.0)),
    "hard tanh": ("hard_tanh", lambda x: x.Max(-1.0).Min(1.0)),
    "hard sigmoid": ("hard_sigmoid", lambda x: (x + 3.0).Clip(0.0, 6.0) / 6.0),
    "hard sigmoid, clipped last": ("hard_sigmoid", lambda x: (x / 6.0 + 0.5).Min(1.0).Max(0.0)),
    "hard silu": ("hard_silu", lambda x: x * (x + 3.0).Clip(0.0, 6.0) * (1 / 6)),
    "hard silu, its operator's": ("hard_silu", lambda x: x * x.HardSigmoid(alpha=1 / 6, beta=0.5)),
    "elu": ("elu", lambda x: x.Relu() + 0.5 * (x.Min(0.0).Exp() - 1.0)),
    "elu, of -relu(-x)": ("elu", lambda x: x.Max(0.0) + ((-(-x).Relu()).Exp() - 1.0)),
    "celu": ("celu", lambda x: x.Max(0.0) + 2.0 * ((x.Min(0.0) / 2.0).Exp() - 1.0)),
    "selu": ("selu", lambda x: 1.0507009873554805 * (x.Relu() + 1.6732632423543772 * (x.Min(0.0).Exp() - 1.0))),
    "selu, of Elu": ("selu", lambda x: x.Elu(alpha=1.6732632423543772) * 1.0507009873554805),
    "squareplus": ("squareplus", lambda x: (x + (x * x + 4.0).Sqrt()) / 2.0),
    "smooth clip": ("smooth_clip", lambda x: x / (1.0 + (x / 3.0) ** 2.0).Sqrt()),
    "softmax": ("softmax", lambda x: x.Softmax(axis=1)),
    "softmax, of exp": ("softmax", lambda x: x.Exp() / x.Exp().ReduceSum(x.draft.constant([-1], np.int64))),
    "softmax, stable": ("softmax", lambda x: stable_softmax(x)),
    "log softmax": ("log_softmax", lambda x: x.Softmax(axis=-1).Log()),
    "log softmax, stable": ("log_softmax", lambda x: stable_log_softmax(x)),
}


def stable_softmax(x):
    raised = (x - x.ReduceMax(axes=[-1])).Exp()
    return raised / raised.ReduceSum(x.draft.constant([-1], np.int64))


def stable_log_softmax(x):
    shifted = x - x.ReduceMax(axes=[-1])
    return shifted - shifted.Exp().ReduceSum(x.draft.constant([-1], np.int64)).Log()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_activation_is_found_however_it_is_written(spelling):
    name, write = SPELLINGS[spelling]
    model, x, (wanted,) = written(write)
    assert len(model.layers) == 2
    assert last_of(model) == name
    np.testing.assert_allclose(model.predict(x), wanted, **CLOSE)


def layer_norm(x, epsilon=1e-5, gamma=None, beta=None):
    centered = x - x.ReduceMean(axes=[-1])
    normal = centered / ((centered * centered).ReduceMean(axes=[-1]) + epsilon).Sqrt()
    normal = normal if gamma is None else normal * gamma
    return normal if beta is None else normal + beta


def tensorflow_layer_norm(x, gamma, beta):
    mean = x.ReduceMean(axes=[1])
    variance = (x * x).ReduceMean(axes=[1]) - mean * mean
    factor = (variance + 1e-3).Sqrt().Reciprocal() * gamma
    return x * factor + (beta - mean * factor)


VECTOR = np.linspace(0.5, 1.5, WIDTH, dtype=np.float32)
LAYERS = {
    "a layer's normalization": ("LayerNormalization", lambda x: layer_norm(x)),
    "with factors": ("LayerNormalization", lambda x: layer_norm(x, 1e-5, VECTOR, VECTOR[::-1])),
    "of TensorFlow": ("LayerNormalization", lambda x: tensorflow_layer_norm(x, VECTOR, VECTOR[::-1])),
    "its operator": ("LayerNormalization", lambda x: x.LayerNormalization(VECTOR, VECTOR[::-1], epsilon=1e-4)),
    "root mean square": (
        "RMSNormalization",
        lambda x: x * ((x * x).ReduceMean(axes=[-1]) + 1e-6).Sqrt().Reciprocal() * VECTOR,
    ),
    "root mean square, a power": ("RMSNormalization", lambda x: x * ((x**2.0).ReduceMean(axes=[-1]) + 1e-5) ** -0.5),
    "root mean square, a length": ("RMSNormalization", lambda x: VECTOR * (x / x.ReduceL2(axes=[-1])) * 2.0),
    "unit length": ("UnitNormalization", lambda x: x / x.ReduceL2(axes=[-1]).Clip(1e-12)),
    "unit length of Keras": (
        "UnitNormalization",
        lambda x: x * x.ReduceSumSquare(axes=[1]).Sqrt().Reciprocal().Min(1e12),
    ),
    "unit length, its operator": ("UnitNormalization", lambda x: x.LpNormalization()),
    "slopes": ("PReLU", lambda x: x.PRelu(VECTOR)),
    "slopes of Keras": ("PReLU", lambda x: x.Relu() + (-VECTOR) * (-x).Relu()),
    "a negative slope": ("PReLU", lambda x: x.LeakyRelu(alpha=-0.5)),
    "a strength for each column": ("ParametricActivation", lambda x: x + VECTOR * (x.Tanh() - x)),
    "a quick gelu": ("Rescaling", lambda x: x * (1.702 * x).Sigmoid()),
    "quick gelu of ONNX Runtime": ("Rescaling", lambda x: x.QuickGelu()),
    "a wider sigmoid": ("sigmoid", lambda x: (2.0 * x + 1.0).Sigmoid()),
    "a scaled tanh": ("Rescaling", lambda x: 1.7159 * (x * 0.6666667).Tanh() + 0.5),
    "a factor for each column": ("Dense", lambda x: x * VECTOR),
    "a factor after a relu": ("Scale", lambda x: x.Relu() * VECTOR),
    "a statistic after a relu": ("BatchNormalization", lambda x: x.Relu() * VECTOR - VECTOR[::-1]),
    "a residual": ("Residual", lambda x: x + x.Tanh()),
    "a residual of three": ("Residual", lambda x: twice(x + x.Tanh())),
    "a gated unit": ("GLU", lambda x: gated(x, lambda b: b.Sigmoid())),
    "a gated unit of silu": ("GLU", lambda x: gated(x, lambda b: b * b.Sigmoid())),
    "a gated unit of gelu": ("GLU", lambda x: gated(x, lambda b: 0.5 * b * (1.0 + (b / 2**0.5).Erf()))),
    "halves swapped": ("GLU", lambda x: gated(x, lambda b: b.Sigmoid(), swapped=True)),
    "a bilinear unit": ("GLU", lambda x: gated(x, lambda b: b)),
}


def twice(x):
    return x + x.Sigmoid()


def gated(x, function, swapped=False):
    a, b = x.Split(axis=1, outputs=2)
    return b * function(a) if swapped else a * function(b)


@pytest.mark.parametrize("spelling", LAYERS)
def test_a_layer_is_found_however_it_is_written(spelling):
    name, write = LAYERS[spelling]
    model, x, (wanted,) = written(write, opset=17 if "operator" in spelling else 15)
    assert last_of(model) == name
    np.testing.assert_allclose(model.predict(x), wanted, **CLOSE)


UNFIT = {
    "a product of two layers": (lambda x: x * x.Floor().Tanh() * x.Tanh(), "is of an operator that no layer has"),
    "a sine": (lambda x: x.Sin(), "its formula is the one of no layer"),
    "an operator": (lambda x: x.Floor(), r"node 't2_0' \(Floor\) is of an operator that no layer has"),
    "attention": (lambda x: x.MatMul(x.Transpose(perm=[1, 0])), r"\(Transpose\): it moves the axis of rows"),
    "rows": (lambda x: x.ReduceMean(axes=[0]), r"\(ReduceMean\): it works on axis 0"),
    "a label": (lambda x: x.ArgMax(axis=1), "the number of the largest column"),
    "numbers cut off": (lambda x: x.Cast(to=7).Cast(to=1) * 2.0, "digits after the point are cut off"),
    "a sum of two towers": (lambda x: x.Tanh() + x.Sigmoid(), "none of which is the other's input"),
    "columns that are repeated": (lambda x: x.ReduceMean(axes=[1]) + x.Tanh(), "the one of no layer|different"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_no_layer_computes_is_named(what):
    write, said = UNFIT[what]
    with pytest.raises(fastnn.ModelFileError, match=f"computes what no model of fastnn does: .*{said}"):
        written(write)


def test_a_constant_for_each_row_is_named_and_may_be_left_out():
    """As the deviation of a policy, which has the batch's shape and comes from no input."""
    for repeat in ("Expand", "ConstantOfShape"):
        draft = Draft()
        mean = Term(draft, "x").MatMul(np.eye(WIDTH)).Tanh()
        given = [draft.constant([0.5]), mean.Shape()] if repeat == "Expand" else [mean.Shape()]
        message = draft.message([mean, draft.op(repeat, *given)])
        with pytest.raises(fastnn.ModelFileError, match=rf"\({repeat}\): it makes numbers for each row that do not"):
            loaded(message)
        assert loaded(message, output=mean.name).output_shape == (None, WIDTH)


def test_several_outputs_are_heads_and_output_picks_some():
    draft = Draft()
    x = Term(draft, "x")
    hidden = x.MatMul(np.eye(WIDTH)).Relu()
    price, kind = hidden.MatMul(np.ones((WIDTH, 1))), hidden.MatMul(np.eye(WIDTH)).Softmax(axis=-1)
    message = draft.message([price, kind, kind.ArgMax(axis=1)])
    model = loaded(message)
    assert list(model.output_shape) == [price.name, kind.name]
    assert loaded(message, output=kind.name).output_shape == (None, WIDTH)
    assert list(loaded(message, output=[kind.name, price.name]).output_shape) == [kind.name, price.name]
    with pytest.raises(fastnn.ModelFileError, match="output names 'prise', which it does not give; "):
        loaded(message, output="prise")


def test_columns_of_an_input_are_branches_and_an_order_of_its_own_is_sorted():
    draft = Draft()
    x = Term(draft, "x")
    parts = x.Split(draft.constant([1, 2, 3], np.int64), axis=1, outputs=3)
    codes = draft.op(
        "Gather", draft.constant(np.arange(8).reshape(4, 2)), parts[0].Cast(to=7).Squeeze(draft.constant([1], np.int64))
    )
    joined = draft.op("Concat", parts[2].Tanh(), codes, parts[1], axis=1)
    kernel = np.random.default_rng(0).normal(size=(7, 2))
    message = draft.message([joined.MatMul(kernel)])
    x = np.random.default_rng(1).integers(0, 4, (ROWS, WIDTH)).astype(np.float32)
    model = loaded(message)
    assert list(model.layers[0].outputs) == ["x_0", "x_1", "x_3"]
    np.testing.assert_allclose(model.predict(x), answers(message, x)[0], **CLOSE)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_halves_and_doubles(dtype):
    draft = Draft()
    x = Term(draft, "x")
    kernel = draft.constant(np.random.default_rng(0).normal(size=(WIDTH, 3)), dtype)
    hidden = x.MatMul(kernel)
    y = draft.constant(0.5, dtype) * hidden * ((hidden * draft.constant(ROOT, dtype)).Erf() + draft.constant(1, dtype))
    message = draft.message([y])
    kind = TensorProto.FLOAT16 if dtype is np.float16 else TensorProto.DOUBLE
    for value in (*message.graph.input, *message.graph.output):
        value.type.tensor_type.elem_type = kind
    model = loaded(message)
    assert model.dtype == ("float32" if dtype is np.float16 else "float64")
    assert last_of(model) == "gelu"


def test_the_opsets_that_are_known_reach_the_newest_of_the_onnx_package():
    from fastnn.exchange._onnx_graph import NEWEST

    assert onnx.defs.onnx_opset_version() <= NEWEST
