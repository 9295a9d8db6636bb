"""ONNX's operators by their names, and those of scikit-learn's exporter and of ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import activations
from fastnn.activations import ActivationFunction
from fastnn.exchange import _onnx_elementwise as numbers
from fastnn.exchange import _onnx_formulas as formulas
from fastnn.exchange import _onnx_row_ops as rows
from fastnn.exchange import _onnx_shapes as shapes
from fastnn.exchange._onnx_elementwise import Meaning
from fastnn.exchange._onnx_formulas import Formula, as_formula
from fastnn.exchange._onnx_patterns import applied
from fastnn.exchange._onnx_rows import UnfitError
from fastnn.exchange._onnx_shapes import Inputs
from fastnn.exchange._onnx_values import Context, Flow, Unknown, Value, coefficient, elementwise, flow

# ---- predictions, and operators of scikit-learn's and ONNX Runtime's ----


def _label(why: str) -> Meaning:
    return lambda context, inputs: [Unknown(why, label=True)] * context.outputs


def _zip_map(context: Context, inputs: Inputs) -> Value:
    return flow(inputs[0])


def _scaler(context: Context, inputs: Inputs) -> Value:
    """(x - offset) scale."""
    x = flow(inputs[0])
    offset, scale = (np.array(context.attribute(name, []), np.float64) for name in ("offset", "scale"))
    if not len(offset) or not len(scale) or not np.isfinite([*offset, *scale]).all():
        raise UnfitError("it has no offset or scale")
    first = coefficient(context.constant(offset), x, context.budget)
    second = coefficient(context.constant(scale), x, context.budget)
    return elementwise((x.formula - as_formula(first)) * second, x.axes)


def _linear(context: Context, inputs: Inputs) -> list[Value]:
    """LinearRegressor and LinearClassifier: a Dense."""
    x = flow(inputs[0])
    coefficients = np.array(context.attribute("coefficients", []), np.float64)
    intercepts = np.array(context.attribute("intercepts", []), np.float64)
    classifies = context.outputs == 2
    labels = context.attribute("classlabels_ints", []) or context.attribute("classlabels_strings", [])
    units = len(intercepts) or (1 if not classifies else len(labels))
    if not units or not len(coefficients) or len(coefficients) % units:
        raise UnfitError("its coefficients do not fit its intercepts")
    kernel = context.constant(coefficients.reshape(units, -1)).transpose()
    found, axes = rows.product(context, x, kernel, 1.0)
    formula = as_formula(found)
    if len(intercepts):
        formula = formula + as_formula(intercepts)
    result = elementwise(formula, axes, [Flow(as_formula(found), axes)])
    after = context.attribute("post_transform", "NONE")
    if after == "SOFTMAX":
        result = Flow(as_formula(applied(result.rows(), activations.softmax)), axes)
    elif after == "LOGISTIC":
        result = elementwise(formulas.sigmoid(as_formula(result.rows())), axes)
    elif after != "NONE":
        raise UnfitError(f"its post_transform is {after!r:.20}")
    if classifies and units == 1:
        raise UnfitError("it gives two columns for one intercept")
    return [Unknown("labels of classes", label=True), result] if classifies else [result]


def _fused_gemm(context: Context, inputs: Inputs) -> Value | list[Value]:
    found = rows.gemm(context, inputs)
    name = context.attribute("activation", "")
    meaning = OPERATORS.get(("", name))
    if meaning is None or name not in ("Relu", "Sigmoid", "Tanh", "LeakyRelu"):
        raise UnfitError(f"its activation is {name!r:.20}")
    context.attributes = {"alpha": context.attribute("activation_alpha", 0.01)}
    context.names, context.outputs = [""], 1
    return meaning(context, [found])


def _with_bias(function: ActivationFunction) -> Meaning:
    def meaning(context: Context, inputs: Inputs) -> Value | list[Value]:
        x: Any = inputs[0]
        if len(inputs) > 1 and inputs[1] is not None:
            x = numbers.binary(lambda a, b: a + b)(context, list(inputs[:2]))
        return numbers.activation(function)(context, [x])

    return meaning


def _sum_of_squares(q: Formula, width: float) -> Formula:
    return formulas.mean(q * q) * width


OPERATORS: dict[tuple[str, str], Meaning] = {
    ("", "Add"): numbers.binary(lambda a, b: a + b),
    ("", "Sub"): numbers.binary(lambda a, b: a - b),
    ("", "Mul"): numbers.binary(lambda a, b: a * b),
    ("", "Div"): numbers.binary(numbers.quotient),
    ("", "Sum"): numbers.several(lambda a, b: a + b),
    ("", "Max"): numbers.several(numbers.larger),
    ("", "Min"): numbers.several(numbers.smaller),
    ("", "Pow"): numbers.power,
    ("", "Neg"): numbers.unary(lambda q: -q),
    ("", "Abs"): numbers.unary(lambda q: formulas.relu(q) * 2.0 - q),
    ("", "Sqrt"): numbers.unary(lambda q: formulas.power(q, 0.5)),
    ("", "Reciprocal"): numbers.unary(lambda q: formulas.power(q, -1)),
    ("", "Exp"): numbers.unary(formulas.exp),
    ("", "Log"): numbers.unary(formulas.log),
    ("", "Erf"): numbers.unary(formulas.erf),
    ("", "Sin"): numbers.unary(formulas.sin),
    ("", "Cos"): numbers.unary(formulas.cos),
    ("", "Tanh"): numbers.unary(formulas.tanh),
    ("", "Sigmoid"): numbers.unary(formulas.sigmoid),
    ("", "Relu"): numbers.unary(formulas.relu),
    ("", "Softplus"): numbers.unary(formulas.softplus),
    ("", "Softsign"): numbers.activation(activations.softsign),
    ("", "HardSwish"): numbers.activation(activations.hard_silu),
    ("", "Mish"): numbers.activation(activations.mish),
    ("", "Clip"): numbers.clip,
    ("", "Elu"): numbers.with_attributes(numbers.of_elu),
    ("", "Celu"): numbers.with_attributes(numbers.of_celu),
    ("", "Selu"): numbers.with_attributes(numbers.of_selu),
    ("", "LeakyRelu"): numbers.with_attributes(numbers.of_leaky_relu),
    ("", "HardSigmoid"): numbers.with_attributes(numbers.of_hard_sigmoid),
    ("", "Gelu"): numbers.with_attributes(numbers.of_gelu),
    ("", "Swish"): numbers.with_attributes(numbers.of_swish),
    ("", "PRelu"): numbers.prelu,
    ("", "MatMul"): rows.matmul,
    ("", "Gemm"): rows.gemm,
    ("", "Softmax"): rows.softmax(activations.softmax),
    ("", "LogSoftmax"): rows.softmax(activations.log_softmax),
    ("", "ReduceMean"): rows.reduction(lambda q, width: formulas.mean(q)),
    ("", "ReduceSum"): rows.reduction(lambda q, width: formulas.mean(q) * width),
    ("", "ReduceMax"): rows.reduction(lambda q, width: formulas.largest(q)),
    ("", "ReduceSumSquare"): rows.reduction(_sum_of_squares),
    ("", "ReduceL2"): rows.reduction(lambda q, width: formulas.power(_sum_of_squares(q, width), 0.5)),
    ("", "BatchNormalization"): rows.batch_normalization,
    ("", "LayerNormalization"): rows.row_normalization("layer"),
    ("", "RMSNormalization"): rows.row_normalization("rms"),
    ("", "SimplifiedLayerNormalization"): rows.row_normalization("rms"),
    ("", "LpNormalization"): rows.unit,
    ("", "Identity"): shapes.same,
    ("", "Dropout"): shapes.same,
    ("", "CastLike"): shapes.same,
    ("", "Cast"): shapes.cast,
    ("", "Reshape"): shapes.reshape,
    ("", "Flatten"): shapes.flatten,
    ("", "Squeeze"): shapes.squeeze,
    ("", "Unsqueeze"): shapes.unsqueeze,
    ("", "Transpose"): shapes.transpose,
    ("", "Expand"): shapes.expand,
    ("", "Shape"): shapes.shape,
    ("", "Slice"): shapes.slice_,
    ("", "Split"): shapes.split,
    ("", "Gather"): shapes.gather,
    ("", "OneHot"): shapes.one_hot,
    ("", "Concat"): shapes.concat,
    ("", "ArgMax"): _label("the number of the largest column"),
    ("", "ArgMin"): _label("the number of the smallest column"),
    ("", "TopK"): _label("the largest columns"),
    ("", "Greater"): numbers.compared(0),
    ("", "GreaterOrEqual"): numbers.compared(0),
    ("", "Less"): numbers.compared(1),
    ("", "LessOrEqual"): numbers.compared(1),
    ("", "Equal"): _label("a comparison"),
    ("", "Not"): numbers.not_,
    ("", "Where"): numbers.where,
    ("ai.onnx.ml", "Binarizer"): _label("a comparison"),
    ("ai.onnx.ml", "ZipMap"): _zip_map,
    ("ai.onnx.ml", "Scaler"): _scaler,
    ("ai.onnx.ml", "Normalizer"): rows.normalizer,
    ("ai.onnx.ml", "LinearRegressor"): _linear,
    ("ai.onnx.ml", "LinearClassifier"): _linear,
    ("com.microsoft", "Gelu"): numbers.activation(activations.gelu),
    ("com.microsoft", "BiasGelu"): _with_bias(activations.gelu),
    ("com.microsoft", "FastGelu"): _with_bias(activations.GELU(approximate=True)),
    ("com.microsoft", "QuickGelu"): numbers.with_attributes(
        lambda context: lambda q: q * formulas.sigmoid(q * context.attribute("alpha", 1.702))
    ),
    ("com.microsoft", "FusedMatMul"): rows.gemm,
    ("com.microsoft", "FusedGemm"): _fused_gemm,
    ("com.microsoft", "SkipLayerNormalization"): rows.row_normalization("layer", 1e-12, skips=True),
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): rows.row_normalization("rms", 1e-12, skips=True),
}
