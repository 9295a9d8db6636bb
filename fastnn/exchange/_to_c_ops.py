"""What each op of a plan is in C: the calls that compute it, and those that take a gradient back through it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._op import Op
from fastnn.exchange import _to_c_kernels as kernels
from fastnn.exchange._to_c_program import Argument, Constant, Double, Program, Vector

if TYPE_CHECKING:
    from fastnn.exchange._to_c_constants import Constants

Array = npt.NDArray[Any]
_SMALLEST_LENGTH = 1e-12  # by which a unit normalization divides a row at least, as in Keras


@dataclasses.dataclass
class Step:
    """One op of a network in C.

    Attributes
    ----------
    op : Op
    program : Program
        What its calls are added to.
    constants : Constants
        The arrays of the file.
    x, y : Vector
        What the op reads, and its result.
    added : Vector or None
        What an addition reads besides.
    kept : dict
        Vectors of the forward pass that the backward pass reads again.
    """

    op: Op
    program: Program
    constants: Constants
    x: Vector
    y: Vector
    added: Vector | None = None
    kept: dict[str, Vector] = dataclasses.field(default_factory=dict)

    def activate(self, z: Vector, y: Vector) -> None:
        """Add the call y = f(z) of the op's activation."""
        name = self.op.activation
        if name in kernels.WHOLE_ROWS:
            self.program.call(name, z, y, y.size, result=y, over=z)
        else:
            self.program.call(name, z, y, y.size, *self._numbers(name, back=False), result=y, over=z)

    def activate_back(self, z: Vector, y: Vector, dy: Vector, dz: Vector) -> None:
        """Add the call dz = dy f'(z) of the op's activation."""
        name = self.op.activation
        if name in kernels.WHOLE_ROWS:
            self.program.call(f"{name}_back", y, dy, dz, y.size, result=dz, over=dy)
        else:
            v = z if kernels.ELEMENTWISE[name].from_argument else y
            self.program.call(f"{name}_back", v, dy, dz, y.size, *self._numbers(name, back=True), result=dz, over=dy)

    def _numbers(self, name: str, *, back: bool) -> tuple[float, ...]:
        activation = kernels.ELEMENTWISE[name]
        formula = activation.slope if back else activation.value
        given = dict(zip(activation.constants, self.op.numbers, strict=False))
        return tuple(float(given[constant]) for constant in kernels.used(activation, formula))

    @property
    def argument(self) -> Vector:
        """Where the argument of the activation of the result lies: the result itself where there is none."""
        if self.op.activation == "linear":
            return self.y
        return self.kept.setdefault("z", self.program.new(self.op.outputs))

    def finish(self) -> None:
        """Add the activation of the result."""
        if self.op.activation != "linear":
            self.activate(self.argument, self.y)

    def argument_gradient(self, dy: Vector) -> Vector:
        """Return the gradient by the argument of the activation of the result."""
        if self.op.activation == "linear":
            return dy
        dz = self.program.new(dy.size)
        self.activate_back(self.argument, self.y, dy, dz)
        return dz

    def vector(self, role: str, values: npt.ArrayLike) -> Constant:
        """Return a vector of the file, which holds these numbers."""
        return self.constants.vector(role, np.asarray(values, np.float64))

    def parameter(self, role: str, offset: int, size: int) -> Argument:
        """Return the vector of parameters that begins there; None where there is none."""
        return None if offset < 0 else self.constants.vector(role, self.constants.parameter(offset, size))


Forward = Callable[[Step], None]
Backward = Callable[[Step, Vector, Vector], None]  # of a step, dy, and the dx that is to be written


# ---- products ----


def _shape_of_groups(op: Op) -> tuple[int, int, int, bool]:
    """Return how many groups there are, the inputs and outputs of each, and whether all share one kernel."""
    count = int(op.vector[3])
    return count, op.inputs // count, op.outputs // count, int(op.vector[0]) < op.inputs


def _matrix(step: Step) -> tuple[Constant, Array | None]:
    """Return the kernel of a product, and the scales of its columns where it is stored without them."""
    op = step.op
    if op.name == "dense":
        return step.constants.matrix("kernel", op.kernel, (op.inputs, op.outputs), op.inputs)
    count, inputs, outputs, shared = _shape_of_groups(op)
    rows = inputs if shared else op.inputs
    name, scales = step.constants.matrix("kernel", op.kernel, (rows, outputs), inputs)
    return name, None if scales is None else np.tile(scales, (count if shared else 1, 1))


def _bias(step: Step) -> tuple[Array | None, int]:
    """Return the bias of a product, and how many numbers of it lie between those of two groups; None without a bias."""
    op = step.op
    if op.bias < 0:
        return None, 0
    size, outputs = (op.outputs, op.outputs) if op.name == "dense" else (int(op.vector[2]), _shape_of_groups(op)[2])
    bias = step.constants.parameter(op.bias, size)
    return bias if bias.any() else None, 0 if size == outputs else outputs


def product(step: Step) -> None:
    """Add z = x W + b, for all columns at once or in groups; then the activation."""
    op, program, z = step.op, step.program, step.argument
    name, scales = _matrix(step)
    bias, step_of_bias = _bias(step)
    inside = None if bias is None or scales is not None else step.vector("bias", bias)
    if op.name == "dense":
        program.call("dense", step.x, name, inside, z, op.inputs, op.outputs, result=z)
    else:
        count, inputs, outputs, shared = _shape_of_groups(op)
        steps = (0 if shared else inputs * outputs, step_of_bias)
        program.call("groups", step.x, name, inside, z, inputs, outputs, count, *steps, result=z)
    if scales is not None and bias is not None:
        vectors = (step.vector("scale", scales), step.vector("bias", np.resize(bias, z.size)))
        program.call("affine", z, *vectors, z, z.size, result=z)
    elif scales is not None:
        program.call("multiply", z, step.vector("scale", scales), z, z.size, result=z)
    step.finish()


def product_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = dz W^T."""
    op, program = step.op, step.program
    dz = step.argument_gradient(dy)
    name, scales = _matrix(step)
    if scales is not None:
        scaled = program.new(dz.size)
        program.call("multiply", dz, step.vector("scale", scales), scaled, dz.size, result=scaled, over=dz)
        dz = scaled
    if op.name == "dense":
        program.call("dense_back", name, dz, dx, op.inputs, op.outputs, result=dx)
    else:
        count, inputs, outputs, shared = _shape_of_groups(op)
        sizes = (inputs, outputs, count, 0 if shared else inputs * outputs)
        program.call("groups_back", name, dz, dx, *sizes, result=dx)


def embedding(step: Step) -> None:
    """Add y = rows of a table."""
    op, entries = step.op, int(step.op.numbers[0])
    width = op.outputs // op.inputs
    name, scales = step.constants.matrix("table", op.kernel, (entries, width), entries)
    scale = None if scales is None else step.vector("scale", scales)
    step.program.call("embed", step.x, name, scale, step.y, op.inputs, entries, width, result=step.y)


# ---- activations, and formulas with one inside ----


def activation(step: Step) -> None:
    """Add y = f(x)."""
    step.activate(step.x, step.y)


def activation_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = dy f'(x)."""
    step.activate_back(step.x, step.y, dy, dx)


def _inside(step: Step, x: Vector) -> Vector:
    """Return f(x), f the activation inside the op's formula."""
    if step.op.activation == "linear":
        return x
    inside = step.kept.setdefault("inside", step.program.new(x.size))
    step.activate(x, inside)
    return inside


def _inside_back(step: Step, x: Vector, dy: Vector, dx: Vector) -> None:
    """Add dx = dy f'(x), f the activation inside the op's formula."""
    if step.op.activation == "linear":
        step.program.call("copy", dy, dx, dx.size, result=dx, over=dy)
    else:
        step.activate_back(x, step.kept["inside"], dy, dx)


def gated(step: Step) -> None:
    """Add y = a f(b), x = (a, b)."""
    n = step.op.outputs
    a, gate = step.x.part(0, n), _inside(step, step.x.part(n, n))
    step.program.call("multiply", a, gate, step.y, n, result=step.y, over=gate)


def gated_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add da = dy f(b), db = dy a f'(b)."""
    n, program = step.op.outputs, step.program
    a, b = step.x.part(0, n), step.x.part(n, n)
    gate = b if step.op.activation == "linear" else step.kept["inside"]
    da, db, slopes = dx.part(0, n), dx.part(n, n), program.new(n)
    program.call("multiply", dy, gate, da, n, result=da)
    program.call("multiply", dy, a, slopes, n, result=slopes, over=dy)
    _inside_back(step, b, slopes, db)


def blend(step: Step) -> None:
    """Add y = (1 - alpha) x + alpha f(x)."""
    inside, alpha = _inside(step, step.x), step.parameter("alpha", step.op.kernel, step.op.outputs)
    step.program.call("blend", step.x, inside, alpha, step.y, step.op.outputs, result=step.y, over=inside)


def blend_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = (1 - alpha) dy + alpha dy f'(x)."""
    n, slopes = step.op.outputs, step.program.new(step.op.outputs)
    alpha = step.parameter("alpha", step.op.kernel, n)
    _inside_back(step, step.x, dy, slopes)
    step.program.call("blend", dy, slopes, alpha, dx, n, result=dx, over=slopes)


def prelu(step: Step) -> None:
    """Add y = x where x > 0, else alpha x."""
    alpha = step.parameter("alpha", step.op.kernel, step.op.outputs)
    step.program.call("prelu", step.x, alpha, step.y, step.op.outputs, result=step.y, over=step.x)


def prelu_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = dy where x > 0, else alpha dy."""
    alpha = step.parameter("alpha", step.op.kernel, step.op.outputs)
    step.program.call("prelu_back", step.x, alpha, dy, dx, step.op.outputs, result=dx, over=dy)


# ---- normalizations ----


def layer_normalization(step: Step) -> None:
    """Add y = (x - mean) / sqrt(variance + epsilon) gamma + beta."""
    op, n = step.op, step.op.outputs
    gamma, beta = step.parameter("gamma", op.kernel, n), step.parameter("beta", op.bias, n)
    numbers = (Double(op.numbers[0]), int(op.numbers[1] != 0))
    step.program.call("normalize", step.x, gamma, beta, *numbers, step.y, n, result=step.y, over=step.x)


def layer_normalization_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add the gradient of a layer normalization."""
    op, n = step.op, step.op.outputs
    numbers = (Double(op.numbers[0]), int(op.numbers[1] != 0))
    gamma = step.parameter("gamma", op.kernel, n)
    step.program.call("normalize_back", step.x, gamma, *numbers, dy, dx, n, result=dx, over=dy)


def unit_normalization(step: Step) -> None:
    """Add y = x / sqrt(sum x^2 + epsilon)."""
    epsilon = Double(_SMALLEST_LENGTH**2)
    step.program.call("unit", step.x, epsilon, step.y, step.op.outputs, result=step.y, over=step.x)


def unit_normalization_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add the gradient of a unit normalization."""
    epsilon = Double(_SMALLEST_LENGTH**2)
    step.program.call("unit_back", step.x, epsilon, dy, dx, step.op.outputs, result=dx)


def _factors(step: Step) -> Array:
    """Return the factor of each column of an op that scales columns by constants: see fnn_column_factor."""
    op, constants = step.op, step.constants
    n, kind = op.outputs, constants.dtype
    if op.name == "center":
        return np.minimum(np.asarray(op.vector[n:]), float(np.finfo(kind).max)).astype(kind)
    variance = np.ones(n) if op.variance < 0 else constants.parameter(op.variance, n).astype(np.float64)
    mode = "divide_by_root" if op.name == "batch_normalization" else op.mode
    if mode == "divide_by_root":
        factor = 1.0 / np.sqrt(variance + op.numbers[0])
    elif mode in ("divide", "multiply"):
        bounded = np.maximum(np.where(variance == 0, 1.0, np.sqrt(variance)), op.numbers[0])
        factor = 1.0 / bounded if mode == "divide" else bounded
    else:
        factor = np.full(n, op.numbers[1])
    gamma = np.ones(n, kind) if op.kernel < 0 else constants.parameter(op.kernel, n)
    return factor.astype(kind) * gamma


def columns(step: Step) -> None:
    """Add y = (x - mean) factor + shift."""
    op, constants = step.op, step.constants
    n = op.outputs
    offset = op.numbers[2] if op.name == "columns" else 0.0
    shift = np.full(n, offset) if op.bias < 0 else constants.parameter(op.bias, n)
    mean = np.zeros(n) if op.mean < 0 else constants.parameter(op.mean, n)
    if op.name == "center":
        mean = np.asarray(op.vector[:n])
    factor = step.vector("factor", _factors(step))
    if mean.any():
        vectors: tuple[Argument, ...] = (step.vector("mean", mean), factor, step.vector("shift", shift))
        step.program.call("columns", step.x, *vectors, step.y, n, result=step.y, over=step.x)
    elif shift.any():
        step.program.call("affine", step.x, factor, step.vector("shift", shift), step.y, n, result=step.y, over=step.x)
    else:
        step.program.call("multiply", step.x, factor, step.y, n, result=step.y, over=step.x)


def columns_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = dy factor."""
    factor = step.vector("factor", _factors(step))
    step.program.call("multiply", dy, factor, dx, step.op.outputs, result=dx, over=dy)


def unscale(step: Step) -> None:
    """Add y = mean + scale x, from low to high."""
    vectors = _units(step)
    step.program.call("unscale", step.x, *vectors, step.y, step.op.outputs, result=step.y, over=step.x)


def unscale_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = dy scale, 0 where y was drawn to low or high."""
    vectors = _units(step)
    step.program.call("unscale_back", step.x, *vectors, dy, dx, step.op.outputs, result=dx, over=dy)


def _units(step: Step) -> list[Constant]:
    mean, scale, low, high = np.split(np.asarray(step.op.vector), 4)
    named = {"factor": scale, "shift": mean, "low": low, "high": high}
    return [step.vector(role, values) for role, values in named.items()]


# ---- sums ----


def add(step: Step) -> None:
    """Add y = x + what the block reads."""
    step.program.call("add", step.x, step.added, step.y, step.op.outputs, result=step.y, over=step.x)


def mean(step: Step) -> None:
    """Add y = the mean of members."""
    members = step.op.inputs // step.op.outputs
    step.program.call("mean", step.x, step.y, members, step.op.outputs, result=step.y)


def mean_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = dy / members, for each member."""
    members = step.op.inputs // step.op.outputs
    step.program.call("mean_back", dy, dx, members, step.op.outputs, result=dx)


def copy(step: Step) -> None:
    """Add y = x."""
    step.program.call("copy", step.x, step.y, step.op.outputs, result=step.y)


def copy_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = dy."""
    step.program.call("copy", dy, dx, step.op.outputs, result=dx)


# ---- columns of raw numbers ----


def impute(step: Step) -> None:
    """Add y = x, or a constant of the column where x is NaN."""
    op, fill = step.op, step.vector("fill", step.op.vector)
    marks = op.outputs > op.inputs
    over = None if marks else step.x
    step.program.call("impute", step.x, fill, int(marks), step.y, op.inputs, result=step.y, over=over)


def impute_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = dy where x is a number."""
    step.program.call("impute_back", step.x, dy, dx, step.op.inputs, result=dx)


def discretize(step: Step) -> None:
    """Add y = the bin of x."""
    op, boundaries = step.op, step.vector("boundaries", step.op.vector)
    step.program.call("discretize", step.x, boundaries, len(op.vector), step.y, op.outputs, result=step.y, over=step.x)


def encode(step: Step) -> None:
    """Add y = a column for each category."""
    op = step.op
    together, counts, skips = op.mode != "one_hot", op.mode == "count", op.numbers[1] != 0
    flags = (int(together), int(counts), int(skips))
    step.program.call("encode", step.x, int(op.numbers[0]), *flags, step.y, op.inputs, result=step.y)


def take(step: Step) -> None:
    """Add y = runs of columns of x."""
    runs = step.constants.integers("runs", np.asarray(step.op.vector))
    step.program.call("take", step.x, runs, len(step.op.vector) // 2, step.y, result=step.y)


def take_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = dy at the columns that are taken, else 0."""
    runs = step.constants.integers("runs", np.asarray(step.op.vector))
    step.program.call("take_back", runs, len(step.op.vector) // 2, dy, dx, step.op.inputs, result=dx)


def _expansion(op: Op) -> tuple[int, int, int]:
    each = int(op.vector[4])
    return op.outputs // op.inputs // each, op.inputs, each


def expand(step: Step) -> None:
    """Add z = factor x w + b, several of each column; then the activation."""
    op, z = step.op, step.argument
    w, b = step.parameter("kernel", op.kernel, op.outputs), step.parameter("bias", op.bias, op.outputs)
    step.program.call("expand", step.x, w, b, float(op.vector[3]), z, *_expansion(op), result=z)
    step.finish()


def expand_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = factor sum dz w."""
    op = step.op
    dz, w = step.argument_gradient(dy), step.parameter("kernel", op.kernel, op.outputs)
    step.program.call("expand_back", w, float(op.vector[3]), dz, dx, *_expansion(op), result=dx)


def waves(step: Step) -> None:
    """Add y = cos(x) and sin(x)."""
    step.program.call("waves", step.x, int(step.op.numbers[0]), step.y, step.op.inputs, result=step.y)


def waves_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = cos(x) dsin - sin(x) dcos."""
    step.program.call("waves_back", step.y, int(step.op.numbers[0]), dy, dx, step.op.inputs, result=dx)


def quantiles(step: Step) -> None:
    """Add y = normal scores."""
    knots, count = step.vector("knots", step.op.vector), int(step.op.numbers[0])
    step.program.call("quantiles", step.x, knots, count, step.y, step.op.inputs, result=step.y, over=step.x)


def quantiles_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add the gradient of normal scores."""
    knots, count = step.vector("knots", step.op.vector), int(step.op.numbers[0])
    step.program.call("quantiles_back", step.x, knots, count, dy, dx, step.op.inputs, result=dx, over=dy)


def _edges(step: Step) -> tuple[Argument, ...]:
    """Return the numbers of bins, the edges, how many columns each column has, and whether x is one more."""
    bins: list[int] = []
    edges: list[float] = []
    rest = list(step.op.vector)
    while rest:
        count = int(rest[0])
        bins.append(count - 1)
        edges += rest[1 : count + 1]
        rest = rest[count + 1 :]
    each, beside = int(step.op.numbers[0]), int(step.op.numbers[1] != 0)
    constants = step.constants
    return constants.integers("bins", np.asarray(bins)), constants.doubles("edges", np.asarray(edges)), each, beside


def piecewise(step: Step) -> None:
    """Add y = how far x has come in each bin."""
    step.program.call("piecewise", step.x, *_edges(step), step.y, step.op.inputs, result=step.y)


def piecewise_back(step: Step, dy: Vector, dx: Vector) -> None:
    """Add dx = dy of the bin that x lies in / its width."""
    step.program.call("piecewise_back", step.x, *_edges(step), dy, dx, step.op.inputs, result=dx)


# Each op with its two functions. An op without the second has no gradient by its input. The ops that a join joins write
# into its memory, and noise is left out where nobody needs a copy.
OPS: dict[str, tuple[Forward, Backward | None]] = {
    "dense": (product, product_back),
    "groups": (product, product_back),
    "embedding": (embedding, None),
    "activation": (activation, activation_back),
    "glu": (gated, gated_back),
    "blend": (blend, blend_back),
    "prelu": (prelu, prelu_back),
    "layer_normalization": (layer_normalization, layer_normalization_back),
    "unit_normalization": (unit_normalization, unit_normalization_back),
    "batch_normalization": (columns, columns_back),
    "columns": (columns, columns_back),
    "center": (columns, columns_back),
    "unscale": (unscale, unscale_back),
    "add": (add, copy_back),
    "mean": (mean, mean_back),
    "impute": (impute, impute_back),
    "discretize": (discretize, None),
    "encode": (encode, None),
    "take": (take, take_back),
    "expand": (expand, expand_back),
    "waves": (waves, waves_back),
    "quantiles": (quantiles, quantiles_back),
    "piecewise": (piecewise, piecewise_back),
    "join": (copy, None),
    "dropout": (copy, copy_back),
    "gaussian": (copy, copy_back),
}
