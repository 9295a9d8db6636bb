"""Formulas that layers compute: which activation, normalization, gate or sum a formula is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from fastnn import activations
from fastnn.activations import ActivationFunction
from fastnn.exchange import _onnx_formulas as formulas
from fastnn.exchange._onnx_formulas import CONSTANT, Atom, Coefficient, Formula, as_formula, close
from fastnn.exchange._onnx_rows import (
    Added,
    Affine,
    Applied,
    Blended,
    Gated,
    Joined,
    Normalized,
    Product,
    Rows,
    Sloped,
    Taken,
    UnfitError,
    settle,
)

# ---- the formulas of activations ----


def _hard_sigmoid(q: Formula) -> Formula:
    return formulas.clip(q * (1 / 6) + 0.5, 0, 1)


def _gelu(q: Formula) -> Formula:
    return q * 0.5 * (formulas.erf(q * math.sqrt(0.5)) + 1.0)


def _gelu_tanh(q: Formula) -> Formula:
    return q * 0.5 * (formulas.tanh((q + q * q * q * 0.044715) * math.sqrt(2 / math.pi)) + 1.0)


def elu(q: Formula, alpha: float, scale: float = 1.0, inner: float = 1.0) -> Formula:
    """The function that is scale q above 0, and scale alpha (exp(inner q) - 1) below."""
    above = formulas.relu(q)
    return above * scale + (formulas.exp((q - above) * inner) - 1.0) * (scale * alpha)


def leaky_relu(q: Formula, slope: float) -> Formula:
    """Q above 0, slope q below."""
    return q * slope + formulas.relu(q) * (1 - slope)


def _softsign(q: Formula) -> Formula:
    return q * formulas.power(formulas.relu(q) * 2.0 - q + 1.0, -1)


def _relu(f: Any, q: Formula) -> Formula:
    if f.threshold != 0:
        raise UnfitError("a threshold above 0 has no formula here")
    result = leaky_relu(q, f.negative_slope)
    return result if f.max_value is None else result - formulas.relu(q - f.max_value)


_FORMULAS: dict[str, Callable[[Any, Formula], Formula]] = {
    "relu": _relu,
    "relu6": lambda _, q: formulas.clip(q, 0, 6),
    "sigmoid": lambda _, q: formulas.sigmoid(q),
    "tanh": lambda _, q: formulas.tanh(q),
    "softplus": lambda _, q: formulas.softplus(q),
    "softsign": lambda _, q: _softsign(q),
    "exponential": lambda _, q: formulas.exp(q),
    "cos": lambda _, q: formulas.cos(q),
    "log_sigmoid": lambda _, q: q - formulas.softplus(q),
    "hard_sigmoid": lambda _, q: _hard_sigmoid(q),
    "hard_tanh": lambda _, q: formulas.clip(q, -1, 1),
    "hard_silu": lambda _, q: q * _hard_sigmoid(q),
    "silu": lambda _, q: q * formulas.sigmoid(q),
    "mish": lambda _, q: q * formulas.tanh(formulas.softplus(q)),
    "gelu": lambda f, q: _gelu_tanh(q) if f.approximate else _gelu(q),
    "leaky_relu": lambda f, q: leaky_relu(q, f.negative_slope),
    "elu": lambda f, q: elu(q, f.alpha),
    "selu": lambda _, q: elu(q, activations.SELU_ALPHA, activations.SELU_SCALE),
    "celu": lambda f, q: elu(q, f.alpha, inner=1 / f.alpha),
    "squareplus": lambda f, q: (q + formulas.power(q * q + f.b, 0.5)) * 0.5,
    "smooth_clip": lambda f, q: q * formulas.power(q * q * (1 / f.limit**2) + 1.0, -0.5),
}
_FIXED: list[ActivationFunction] = [
    activations.relu,
    activations.sigmoid,
    activations.tanh,
    activations.softplus,
    activations.softsign,
    activations.exponential,
    activations.cos,
    activations.log_sigmoid,
    activations.relu6,
    activations.hard_sigmoid,
    activations.hard_tanh,
    activations.hard_silu,
    activations.silu,
    activations.mish,
    activations.gelu,
    activations.GELU(approximate=True),
    activations.selu,
    activations.elu,
]


def formula_of(function: ActivationFunction, q: Formula) -> Formula:
    """Return the formula of an activation of q."""
    return _FORMULAS[function.name](function, q)


def _other_forms(x: Formula) -> Iterator[tuple[ActivationFunction, Formula]]:
    """Yield further formulas of activations, which are equal to theirs by more than algebra."""
    above = formulas.relu(x)
    cube = (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)
    yield activations.sigmoid, formulas.tanh(x * 0.5) * 0.5 + 0.5
    yield activations.GELU(approximate=True), x * formulas.sigmoid(cube * 2.0)
    yield activations.softplus, above + formulas.softplus(x - above * 2.0)
    far = formulas.positive(x - 20.0)  # PyTorch's softplus is x beyond 20, where the two differ by 2e-9
    yield activations.softplus, formulas.softplus(x) + far * (x - formulas.softplus(x))
    yield activations.tanh, formulas.sigmoid(x * 2.0) * 2.0 - 1.0


Signature = frozenset[frozenset[tuple[str, float]]]
_BARE: Signature = frozenset([frozenset([("x", 1.0)])])


def _signature(q: Formula) -> Signature:
    """Return what a formula of one step and another one must share to be the same: its products, without numbers."""
    return frozenset(
        frozenset((factor.name if isinstance(factor, Atom) else "x", exponent) for factor, exponent in monomial)
        for monomial in q.terms
        if monomial != CONSTANT
    )


_SOME = as_formula(Rows(None))
_SIGNATURES = [(_signature(formula_of(function, _SOME)), function) for function in _FIXED]
_OTHER_SIGNATURES = frozenset(_signature(formula) for _, formula in _other_forms(_SOME))


def _number(coefficient: Coefficient | None) -> float | None:
    return coefficient if isinstance(coefficient, float) else None


def _fitted(q: Formula, x: Rows) -> Iterator[ActivationFunction]:
    """Yield activations whose constants are those that the formula seems to have."""
    bare = frozenset([(x, 1.0)])
    above = next(iter(formulas.relu(as_formula(x)).terms))
    slope, rest = _number(q.terms.get(bare, 0.0)), _number(q.terms.get(above, 0.0))
    if slope is not None and rest is not None and slope + rest != 0 and slope / (slope + rest) > 0:
        yield activations.LeakyReLU(slope / (slope + rest))
    for monomial, coefficient in q.terms.items():
        for factor, _ in monomial:
            if not isinstance(factor, Atom):
                continue
            inner = {m: _number(c) for m, c in factor.of.terms.items()}
            if factor.name == "exp" and (inner.get(bare) or 0) > 0:
                yield activations.CELU(1 / inner[bare])  # type: ignore[operator]
                if rest and _number(coefficient) is not None and coefficient / rest >= 0:
                    yield activations.ELU(coefficient / rest)  # type: ignore[arg-type]
            elif factor.name == "relu" and (inner.get(CONSTANT) or 0) < 0 and slope is not None and rest is not None:
                share = slope / (slope + rest) if slope + rest != 0 else 0.0
                if share >= 0:
                    yield activations.ReLU(share, -(inner[CONSTANT] or 0.0))
            elif factor.name == "of":
                squares, constant = inner.get(frozenset([(x, 2.0)])), inner.get(CONSTANT)
                if squares and constant and constant / squares > 0:
                    yield activations.Squareplus(constant / squares)
                    yield activations.SmoothClip(math.sqrt(constant / squares))


def _candidates(q: Formula, x: Rows) -> Iterator[tuple[ActivationFunction, Formula]]:
    own, signature = as_formula(x), _signature(q)
    for function in (*(function for known, function in _SIGNATURES if known == signature), *_fitted(q, x)):
        yield function, formula_of(function, own)
    if signature in _OTHER_SIGNATURES:
        yield from _other_forms(own)


def _matched(q: Formula, x: Rows) -> tuple[ActivationFunction, Coefficient, Coefficient] | None:
    """Return f, a and b where q is a f(x) + b, with an a of 1 and a b of 0 if it can be; None where there is no f."""
    bare = frozenset([(x, 1.0)])
    first: tuple[ActivationFunction, Coefficient, Coefficient] | None = None
    for function, formula in _candidates(q, x):
        telling = next((m for m in formula.terms if m not in (CONSTANT, bare)), CONSTANT)
        if telling == CONSTANT or telling not in q.terms or not set(formula.terms) <= {*q.terms, CONSTANT}:
            continue
        a: Coefficient = q.terms[telling] / formula.terms[telling]
        scaled = formula * a
        if all(m == CONSTANT or (m in scaled.terms and close(c, scaled.terms[m])) for m, c in q.terms.items()):
            b = q.terms.get(CONSTANT, 0.0) - scaled.terms.get(CONSTANT, 0.0)
            small = 1e-6 * np.abs(a) if np.any(scaled.terms.get(CONSTANT, 0.0)) else 0.0
            found = function, _plain(a), 0.0 if np.all(np.abs(b) <= small) else b
            if _is_number(found[1], 1.0) and _is_number(found[2], 0.0):
                return found
            first = first or found
    return first


def _is_number(coefficient: Coefficient, value: float) -> bool:
    return isinstance(coefficient, float) and coefficient == value


def _plain(a: Coefficient) -> Coefficient:
    """Return 1.0 for what is 1 but for rounding."""
    return 1.0 if isinstance(a, float) and close(a, 1.0) else a


# ---- steps of formulas ----


def affine(x: Rows, scale: Coefficient, shift: Coefficient) -> Rows:
    """Return x scale + shift."""
    for given in (scale, shift):
        if isinstance(given, np.ndarray):
            settle(x, len(given))
    if np.all(np.asarray(scale) == 1) and not np.any(shift) and not isinstance(shift, np.ndarray):
        return x
    if isinstance(x, Affine):
        return affine(x.x, x.scale * scale, x.shift * scale + shift)
    return Affine(x.width, x, scale, shift)


def as_product(x: Rows) -> Product | None:
    """Return x as a product, where it is one or a product scaled and shifted; else None."""
    if isinstance(x, Product):
        return x
    if not isinstance(x, Affine) or not isinstance(x.x, Product) or x.width is None:
        return None
    inner, scale, shift = x.x, x.scale, x.shift
    none = inner.bias is None and not isinstance(shift, np.ndarray) and shift == 0
    bias = None if none else np.broadcast_to((0.0 if inner.bias is None else inner.bias * scale) + shift, (x.width,))
    return Product(x.width, inner.x, inner.kernel, inner.scale * scale, bias)


def applied(x: Rows, function: ActivationFunction) -> Rows:
    """Return f(x)."""
    return Applied(x.width, x, function)


def as_rows(q: Formula) -> Rows:
    """Return the step that computes a formula.

    Raises
    ------
    UnfitError
        When none does.
    """
    leaf = q.leaf
    if leaf is not None:
        return leaf
    leaves = q.leaves
    if len(leaves) == 1:
        found = _of_one(q, leaves[0])
    elif leaves:
        found = _sum(q) or _of_source(q, leaves) or _gate(q, leaves)
    else:
        raise UnfitError("it depends on no input")
    if found is None:
        raise UnfitError("its formula is the one of no layer")
    return found


def _of_one(q: Formula, x: Rows) -> Rows | None:
    bare = frozenset([(x, 1.0)])
    if set(q.terms) <= {bare, CONSTANT}:
        return affine(x, q.terms[bare], q.terms.get(CONSTANT, 0.0))
    if q.has_row_sums:
        return _normalized(q, x) or _softmax(q, x)
    return _function(q, x) or _strengths(q, x) or _of_inner(q, x) or _log_of_softmax(q, x)


def _function(q: Formula, x: Rows) -> Rows | None:
    found = _matched(q, x)
    if found is None:
        return None
    function, a, b = found
    return affine(applied(x, function), a, b)


def _strengths(q: Formula, x: Rows) -> Rows | None:
    """Return a layer with a slope or strength for each column, where q is one."""
    bare, signature = frozenset([(x, 1.0)]), _signature(q) | _BARE
    for function in (function for known, function in _SIGNATURES if known | _BARE == signature):
        formula = formula_of(function, as_formula(x))
        telling = next((m for m in formula.terms if m not in (CONSTANT, bare)), CONSTANT)
        if telling not in q.terms or telling == CONSTANT:
            continue
        alpha = q.terms[telling] / formula.terms[telling]
        if not (as_formula(x) + (formula - as_formula(x)) * alpha).same_as(q):
            continue
        width = len(alpha) if isinstance(alpha, np.ndarray) else x.width
        if width is None:
            return None
        settle(x, width)
        strength = np.array(np.broadcast_to(np.asarray(alpha, np.float64), (width,)))
        return Sloped(width, x, 1 - strength) if function is activations.relu else Blended(width, x, function, strength)
    return None


def _of_inner(q: Formula, x: Rows) -> Rows | None:
    """Return the step where q is a function of c x + d, and c and d stand in one of its factors."""
    bare = frozenset([(x, 1.0)])
    for factor in {f: None for m in q.terms for f, _ in m if isinstance(f, Atom)}:
        if not set(factor.of.terms) <= {bare, CONSTANT}:
            continue
        c, d = _number(factor.of.terms[bare]), _number(factor.of.terms.get(CONSTANT, 0.0))
        if c is None or d is None or (c == 1 and d == 0):
            continue
        y = affine(x, c, d)
        found = _function(formulas.substituted(q, x, (as_formula(y) - d) * (1 / c)), y)
        if found is not None:
            return found
    return None


def _log_of_softmax(q: Formula, x: Rows) -> Rows | None:
    if isinstance(x, Applied) and x.function is activations.softmax and q.same_as(formulas.log(as_formula(x))):
        return applied(x.x, activations.log_softmax)
    return None


def _softmax(q: Formula, x: Rows) -> Rows | None:
    """Return a softmax or its logarithm of x, where q is one."""
    if x.width is None:
        return None
    own = as_formula(x)
    for shift in (own - formulas.largest(own), own):
        raised = formulas.exp(shift)
        total = formulas.mean(raised) * float(x.width)
        if q.same_as(raised * formulas.power(total, -1)):
            return applied(x, activations.softmax)
        if q.same_as(shift - formulas.log(total)):
            return applied(x, activations.log_softmax)
    return None


def _normalized(q: Formula, x: Rows) -> Rows | None:
    """Return a normalization of each row of x, where q is one: (x - mean) / √(variance + ε) γ + β, or x / √... γ."""
    own = as_formula(x)
    average, squares = formulas.mean(own), formulas.mean(own * own)
    root = next((f for m in q.terms for f, e in m if isinstance(f, Atom) and f.name == "of" and e == -0.5), None)
    if root is not None:
        spread, divided = root.of, Formula({frozenset([(root, -0.5)]): 1.0})
    else:  # without an ε the mean of the squares is a factor of its own
        spread, divided = squares, formulas.power(squares, -0.5)
    (telling,) = squares.terms
    of_squares = _number(spread.terms.get(telling))
    gamma = q.terms.get(next(iter((own * divided).terms)))
    if of_squares is None or of_squares <= 0 or gamma is None:
        return None
    beta, epsilon = q.terms.get(CONSTANT), _number(spread.terms.get(CONSTANT, 0.0))
    for kind, centered, variance in (
        ("layer", own - average, squares - average * average),
        ("rms", own, squares),
    ):
        wanted = centered * divided * gamma + (0.0 if beta is None else as_formula(beta))
        if epsilon is not None and (variance * of_squares + epsilon).same_as(spread) and wanted.same_as(q):
            return _of_rows(x, kind, epsilon / of_squares, gamma * of_squares**-0.5, beta)
    return None


def _of_rows(x: Rows, kind: str, epsilon: float, gamma: Coefficient, beta: Coefficient | None) -> Rows:
    given = next((len(v) for v in (gamma, beta) if isinstance(v, np.ndarray)), x.width)
    if given is None:
        raise UnfitError("it normalizes rows of unknown width")
    settle(x, given)
    vectors = [None if v is None else np.array(np.broadcast_to(v, (given,)), np.float64) for v in (gamma, beta)]
    if kind == "rms" and isinstance(gamma, float) and close(gamma, given**-0.5) and epsilon * given <= 1e-20:
        return Normalized(given, x, "unit", 0.0, {})
    if isinstance(gamma, float) and close(gamma, 1.0) and kind == "layer":
        vectors[0] = None
    parameters = {"gamma": vectors[0], "beta": vectors[1]} if kind == "layer" else {"gamma": vectors[0]}
    found = Normalized(given, x, kind, epsilon, parameters)
    return found if kind == "layer" or beta is None else affine(found, 1.0, beta)


# ---- of several rows ----


def _of_source(q: Formula, leaves: list[Rows]) -> Rows | None:
    """Return the step where q is one of x and of what is computed of x alone, which other nodes read too."""
    for leaf in leaves:
        if isinstance(leaf, Applied) and leaf.x in leaves and leaf.function.name in _FORMULAS:
            inner = formula_of(leaf.function, as_formula(leaf.x))
        elif isinstance(leaf, Affine) and leaf.x in leaves:
            inner = as_formula(leaf.x) * leaf.scale + as_formula(leaf.shift)
        else:
            continue
        with suppress(UnfitError):
            return as_rows(formulas.substituted(q, leaf, inner))
    return None


def _leaves_of(monomial: Any) -> list[Rows]:
    return Formula({monomial: 1.0}).leaves


def _sum(q: Formula) -> Rows | None:
    """Return the sum of formulas of one leaf each, where q is one."""
    parts: dict[Rows, Formula] = {}
    for monomial, coefficient in q.terms.items():
        leaves = _leaves_of(monomial)
        if len(leaves) > 1:
            return None
        if leaves:
            parts[leaves[0]] = parts.get(leaves[0], Formula({})) + Formula({monomial: coefficient})
    if CONSTANT in q.terms:
        shifted = next((leaf for leaf in parts if isinstance(leaf, Product)), next(iter(parts)))
        parts[shifted] = parts[shifted] + as_formula(q.terms[CONSTANT])
    first, *others = [as_rows(part) for part in parts.values()]
    for other in others:
        if first.width is None and other.width is not None:
            settle(first, other.width)
        elif other.width is None and first.width is not None:
            settle(other, first.width)
        if first.width != other.width:
            raise UnfitError("it adds rows of different widths")
        first = Added(first.width, first, other)
    return first


def _gate(q: Formula, leaves: list[Rows]) -> Rows | None:
    """Return the step where q is a f(b): rows times a function of others."""
    if len(leaves) != 2:
        return None
    for a, b in (leaves, leaves[::-1]):
        rest = Formula({})
        for monomial, coefficient in q.terms.items():
            if (a, 1.0) not in monomial:
                break
            rest = rest + Formula({monomial - {(a, 1.0)}: coefficient})
        else:
            if rest.leaves != [b]:
                continue
            function: ActivationFunction = activations.linear
            factor: Coefficient = 1.0
            if rest.leaf is b and isinstance(b, Applied) and b.function.elementwise:
                function, b = b.function, b.x
            elif rest.leaf is not b:
                found = _matched(rest, b)
                if found is None or np.any(found[2]):
                    continue
                function, factor, _ = found
            both = joined((affine(a, factor, 0.0), b))
            if a.width is None or a.width != b.width:
                raise UnfitError("it multiplies rows of different widths")
            return Gated(a.width, both, function)
    return None


def joined(parts: tuple[Rows, ...]) -> Rows:
    """Return rows side by side, as one step where all of them come from the same rows in the same way."""
    parts = tuple(inner for part in parts for inner in (part.parts if isinstance(part, Joined) else (part,)))
    widths = [part.width for part in parts]
    width = None if None in widths else sum(w or 0 for w in widths)
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, Taken) for part in parts) and len({id(part.x) for part in parts}) == 1:  # type: ignore[attr-defined]
        places = tuple(place for part in parts for place in part.places)  # type: ignore[attr-defined]
        return taken(parts[0].x, places)  # type: ignore[attr-defined]
    products = [product for product in map(as_product, parts) if product is not None]
    if len(products) == len(parts) and len({id(product.x) for product in products}) == 1:
        return _side_by_side(tuple(products), width)
    first = parts[0]
    if isinstance(first, Applied) and first.function.elementwise:
        same = [part.x for part in parts if isinstance(part, Applied) and part.function is first.function]
        inner = joined(tuple(same)) if len(same) == len(parts) else None
        if inner is not None and not isinstance(inner, Joined):
            return applied(inner, first.function)
    return Joined(width, parts)


def _side_by_side(parts: tuple[Any, ...], width: int | None) -> Rows:
    """Return products of the same rows as one product."""
    budget = parts[0].kernel.budget
    budget.charge(sum(8 * part.kernel.size for part in parts), "a product")
    kernel = np.concatenate([part.kernel.array() * part.scale for part in parts], axis=1)
    bias = None
    if any(part.bias is not None for part in parts):
        bias = np.concatenate([np.zeros(part.width) if part.bias is None else part.bias for part in parts])
    return Product(width, parts[0].x, type(parts[0].kernel)(kernel, budget), 1.0, bias)


def taken(x: Rows, places: tuple[int, ...]) -> Rows:
    """Return some columns of x."""
    if isinstance(x, Taken):
        return taken(x.x, tuple(x.places[place] for place in places))
    if x.width is not None and places == tuple(range(x.width)):
        return x
    return Taken(len(places), x, places)
