"""Formulas of a graph's elementwise nodes in one form, so that it does not matter how an exporter wrote them.

A formula is a sum of products: ``{factors: coefficient}``, where a factor is rows that a layer gives, or a function of
a formula, with an exponent. So 0.5 x (1 + erf(x / √2)) and x / 2 + erf(0.7071 x) (0.5 x) are the same formula,
``{x: 0.5, x erf(0.7071 x): 0.5}``. Functions are brought into one form as they are applied: what is piecewise linear is
written in relu alone, as in clip(x, 0, 6) = relu(x) - relu(x - 6), and functions of -x in those of x. Coefficients are
numbers, or vectors with one number a column. Factors that are the same in a whole row, as its mean, are ``per_row``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastnn.exchange._onnx_rows import Rows, UnfitError

Coefficient = float | npt.NDArray[np.float64]
Monomial = frozenset[tuple[Any, float]]

CONSTANT: Monomial = frozenset()
TOLERANCE = 2e-6  # constants are equal up to this: files hold them in float32
MAX_TERMS = 24
MAX_LEVELS = 8


def close(a: Coefficient, b: Coefficient) -> bool:
    """Return whether two coefficients are the same but for rounding."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12)
    return np.shape(a) == np.shape(b) and bool(np.allclose(a, b, rtol=TOLERANCE, atol=1e-12))


class Atom:
    """A function of a formula, as a factor.

    Parameters
    ----------
    name : str
        The function; ``"of"`` is the formula itself, for its powers.
    of : Formula
        With numbers as coefficients.
    """

    def __init__(self, name: str, of: Formula) -> None:
        self.name, self.of = name, of
        self.per_row: bool = name in ("mean", "max") or of.per_row
        self.has_row_sums: bool = name in ("mean", "max") or of.has_row_sums
        self.level: int = of.level + 1
        self._hash = hash((name, frozenset(of.terms)))
        if self.level > MAX_LEVELS:
            raise UnfitError("its formula is nested deeper than those of any layer")

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Atom) and self.name == other.name and self.of.same_as(other.of))


class Formula:
    """A sum of products; see the module."""

    def __init__(self, terms: dict[Monomial, Coefficient]) -> None:
        self.terms = {m: c for m, c in terms.items() if isinstance(c, np.ndarray) or c != 0.0}
        if len(self.terms) > MAX_TERMS:
            raise UnfitError("its formula has more terms than those of any layer")

    @property
    def level(self) -> int:
        """How deep functions are nested."""
        return max((f.level for m in self.terms for f, _ in m if isinstance(f, Atom)), default=0)

    @property
    def per_row(self) -> bool:
        """Whether all numbers of a row are the same."""
        return not self.has_vectors and all(isinstance(f, Atom) and f.per_row for m in self.terms for f, _ in m)

    @property
    def has_row_sums(self) -> bool:
        """Whether means or other things of whole rows are part of the formula."""
        return any(isinstance(f, Atom) and f.has_row_sums for m in self.terms for f, _ in m)

    @property
    def has_vectors(self) -> bool:
        """Whether columns have coefficients of their own."""
        return any(isinstance(c, np.ndarray) for c in self.terms.values())

    @property
    def leaves(self) -> list[Rows]:
        """The rows that the formula is of, each once."""
        found: dict[Rows, None] = {}
        for monomial in self.terms:
            for factor, _ in monomial:
                for leaf in factor.of.leaves if isinstance(factor, Atom) else [factor]:
                    found[leaf] = None
        return list(found)

    @property
    def number(self) -> float | None:
        """The value of a formula that is a number; None for any other."""
        if not self.terms:
            return 0.0
        only = self.terms.get(CONSTANT)
        return only if len(self.terms) == 1 and isinstance(only, float) else None

    @property
    def leaf(self) -> Rows | None:
        """The rows that the formula is, without a factor; None for any other formula."""
        if len(self.terms) != 1:
            return None
        ((monomial, coefficient),) = self.terms.items()
        if len(monomial) != 1 or isinstance(coefficient, np.ndarray) or coefficient != 1.0:
            return None
        ((factor, exponent),) = monomial
        return factor if exponent == 1 and isinstance(factor, Rows) else None

    def same_as(self, other: Formula) -> bool:
        """Return whether two formulas are the same but for rounding."""
        if self is other:
            return True
        return self.terms.keys() == other.terms.keys() and all(close(c, other.terms[m]) for m, c in self.terms.items())

    def __add__(self, other: Formula | float) -> Formula:
        terms = dict(self.terms)
        for monomial, coefficient in as_formula(other).terms.items():
            terms[monomial] = _sum(terms[monomial], coefficient) if monomial in terms else coefficient
        return Formula(terms)

    def __mul__(self, other: Formula | Coefficient) -> Formula:
        terms: dict[Monomial, Coefficient] = {}
        for m, c in self.terms.items():
            for n, d in as_formula(other).terms.items():
                product = _times(m, n)
                coefficient: Coefficient = c * d
                terms[product] = _sum(terms[product], coefficient) if product in terms else coefficient
        return Formula(terms)

    def __neg__(self) -> Formula:
        return self * -1.0

    def __sub__(self, other: Formula | float) -> Formula:
        return self + -as_formula(other)


def _sum(a: Coefficient, b: Coefficient) -> Coefficient:
    """Return a + b, or 0 where they cancel but for rounding."""
    if isinstance(a, float) and isinstance(b, float):
        total = a + b
        return 0.0 if abs(total) <= 1e-7 * max(abs(a), abs(b)) else total
    return a + b


def _times(m: Monomial, n: Monomial) -> Monomial:
    """Return the product of two products of powers."""
    exponents: dict[Any, float] = dict(m)
    for factor, exponent in n:
        exponents[factor] = exponents.get(factor, 0) + exponent
    left = {factor: exponent for factor, exponent in exponents.items() if exponent != 0}
    for factor in [f for f in left if isinstance(f, Atom) and f.name == "positive"]:
        left[factor] = 1.0  # it is 0 or 1
        base = next(iter(factor.of.terms)) if factor.of.terms.keys() != {CONSTANT} else CONSTANT
        if (
            len(factor.of.terms) == 1
            and len(base) == 1
            and next(iter(base))[1] == 1
            and left.get(next(iter(base))[0]) == 1
        ):
            del left[factor], left[next(iter(base))[0]]
            left[Atom("relu", factor.of)] = left.get(Atom("relu", factor.of), 0) + 1.0
    if sum(abs(exponent) for exponent in left.values()) > MAX_LEVELS:
        raise UnfitError("its formula has higher powers than those of any layer")
    return frozenset(left.items())


def as_formula(value: Formula | Rows | Coefficient) -> Formula:
    """Return rows, a number or a vector as a formula."""
    if isinstance(value, Formula):
        return value
    if isinstance(value, Rows):
        return Formula({frozenset([(value, 1.0)]): 1.0})
    return Formula({CONSTANT: value if isinstance(value, np.ndarray) else float(value)})


_OF_NUMBERS: dict[str, Callable[[float], float]] = {
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "softplus": lambda x: math.log1p(math.exp(x)),
    "tanh": math.tanh,
    "erf": math.erf,
    "sin": math.sin,
    "cos": math.cos,
    "exp": math.exp,
    "log": math.log,
    "positive": lambda x: float(x > 0),
    "mean": lambda x: x,
    "max": lambda x: x,
    "relu": lambda x: max(x, 0.0),
}


def _atom(name: str, of: Formula) -> Formula:
    known = of.number
    if known is not None:
        try:
            return as_formula(_OF_NUMBERS[name](known))
        except (OverflowError, ValueError):
            raise UnfitError(f"it has the {name} of {known}") from None
    return Formula({frozenset([(Atom(name, of), 1.0)]): 1.0})


def _only(q: Formula) -> tuple[Any, Coefficient] | None:
    """Return the factor and the coefficient of a formula that is a multiple of one factor; else None."""
    if len(q.terms) != 1:
        return None
    ((monomial, coefficient),) = q.terms.items()
    if len(monomial) != 1:
        return None
    ((factor, exponent),) = monomial
    return (factor, coefficient) if exponent == 1 else None


def _leading(q: Formula) -> float:
    """Return the coefficient of the one term that is not constant; 0 where there are several."""
    others = [c for m, c in q.terms.items() if m != CONSTANT]
    return others[0] if len(others) == 1 and isinstance(others[0], float) else 0.0


# ---- functions ----


def sigmoid(q: Formula) -> Formula:
    """1 / (1 + exp(-q))."""
    return -_atom("sigmoid", -q) + 1.0 if _leading(q) < 0 else _atom("sigmoid", q)


def softplus(q: Formula) -> Formula:
    """log(1 + exp(q))."""
    return _atom("softplus", -q) + q if _leading(q) < 0 else _atom("softplus", q)


def _odd(name: str) -> Callable[[Formula], Formula]:
    return lambda q: -_atom(name, -q) if _leading(q) < 0 else _atom(name, q)


tanh, erf, sin = _odd("tanh"), _odd("erf"), _odd("sin")


def cos(q: Formula) -> Formula:
    """The cosine of q."""
    return _atom("cos", -q if _leading(q) < 0 else q)


def exp(q: Formula) -> Formula:
    """The exponential of q."""
    return _atom("exp", q)


def log(q: Formula) -> Formula:
    """The logarithm of q: log sigmoid(x) = x - softplus(x), and log(1 + exp(x)) = softplus(x)."""
    only = _only(q)
    if only is not None and isinstance(only[0], Atom) and only[0].name == "sigmoid" and only[1] == 1.0:
        return only[0].of - softplus(only[0].of)
    inner = _exponent_of(q)
    return _atom("log", q) if inner is None else softplus(inner)


def _exponent_of(q: Formula) -> Formula | None:
    """Return r where q is 1 + exp(r), else None."""
    rest = q - 1.0
    only = _only(rest) if CONSTANT not in rest.terms else None
    if only is None or not isinstance(only[0], Atom) or only[0].name != "exp" or only[1] != 1.0:
        return None
    return only[0].of


def power(q: Formula, exponent: float) -> Formula:
    """A power of q, by a number."""
    if exponent == 1:
        return q
    known = q.number
    if known is not None:
        if known < 0 or (known == 0 and exponent < 0):
            raise UnfitError(f"it has a power of {known}")
        return as_formula(known**exponent)
    if exponent in (2, 3):
        return q * q if exponent == 2 else q * q * q
    inner = _exponent_of(q) if exponent == -1 else None
    if inner is not None:
        return sigmoid(-inner)
    if len(q.terms) == 1:
        ((monomial, coefficient),) = q.terms.items()
        safe = exponent == int(exponent) or all(_is_positive(factor) for factor, _ in monomial)
        if safe and isinstance(coefficient, float) and coefficient > 0:
            return Formula({frozenset((f, e * exponent) for f, e in monomial): coefficient**exponent})
    return Formula({frozenset([(Atom("of", q), float(exponent))]): 1.0})


def _is_positive(factor: Any) -> bool:
    """Return whether a factor is never negative, whatever the rows are."""
    if not isinstance(factor, Atom):
        return False
    if factor.name == "mean":
        ((monomial, _),) = factor.of.terms.items()
        return all(exponent % 2 == 0 or _is_positive(inner) for inner, exponent in monomial)
    return factor.name in ("exp", "sigmoid", "softplus", "relu", "of")


def mean(q: Formula) -> Formula:
    """The mean of each row; factors that a row has in common are taken out of it."""
    result = Formula({})
    for monomial, coefficient in q.terms.items():
        common = frozenset((f, e) for f, e in monomial if isinstance(f, Atom) and f.per_row)
        own = monomial - common
        one = _atom("mean", Formula({own: 1.0})) if own else as_formula(1.0)
        result = result + one * Formula({common: coefficient})
    return result


def largest(q: Formula) -> Formula:
    """The largest number of each row."""
    return _atom("max", q)


# ---- piecewise linear functions ----


def relu(q: Formula) -> Formula:
    """max(q, 0), where q may itself be piecewise linear in one thing."""
    known = q.number
    if known is not None:
        return as_formula(max(known, 0.0))
    bent = _bends(q)
    if bent is not None and bent[3]:
        return _above_zero(*bent)
    only, slope = _only(q), _leading(q)
    if only is not None and slope > 0 and _is_positive(only[0]):
        return q
    if slope == 0:
        return _atom("relu", q)
    return relu(-q) + q if slope < 0 else _atom("relu", q * (1 / slope)) * slope


def positive(q: Formula) -> Formula:
    """1 where q is positive, else 0; what it is for a q of 0 does not matter to any layer."""
    slope = _leading(q)
    if slope < 0:
        return -positive(-q) + 1.0
    return _atom("positive", q * (1 / slope) if slope else q)


def maximum(a: Formula, b: Formula) -> Formula:
    """max(a, b); a length that is at least ε is taken for √(length² + ε²), which is the same but for such lengths."""
    squares, low = _squares_of(a, 0.5), b.number
    if squares is not None and low is not None and 0 <= low <= 1e-10:
        return power(squares + low * low, 0.5)
    return b + relu(a - b)


def minimum(a: Formula, b: Formula) -> Formula:
    """min(a, b); of the inverse of a length as of :func:`maximum`."""
    squares, high = _squares_of(a, -0.5), b.number
    if squares is not None and high is not None and high >= 1e10:
        return power(squares + high**-2, -0.5)
    return a - relu(a - b)


def _squares_of(q: Formula, exponent: float) -> Formula | None:
    """Return the sum of squares of which q is that power; None where it is none."""
    if len(q.terms) != 1:
        return None
    ((monomial, coefficient),) = q.terms.items()
    if len(monomial) != 1 or not isinstance(coefficient, float) or coefficient <= 0:
        return None
    ((factor, given),) = monomial
    if given != exponent or not isinstance(factor, Atom) or factor.name != "mean":
        return None
    return Formula({frozenset([(factor, 1.0)]): coefficient ** (1 / exponent)})


def clip(q: Formula, low: float, high: float) -> Formula:
    """min(max(q, low), high); beyond 1e30 there is no limit."""
    above = q if low < -1e30 else maximum(q, as_formula(low))
    return above if high > 1e30 else minimum(above, as_formula(high))


def _bends(q: Formula) -> tuple[Formula, float, float, dict[float, float]] | None:
    """Return x, a, b and ``{t: c}`` where q is a x + b + Σ c relu(x - t); None where it is not of that form."""
    if q.has_vectors:
        return None
    base: Monomial | None = None
    slope, shift, bends = 0.0, 0.0, {}
    for monomial, coefficient in q.terms.items():
        number = float(coefficient)
        if monomial == CONSTANT:
            shift = number
            continue
        ((factor, exponent),) = monomial if len(monomial) == 1 else ((None, 0),)
        own, at = monomial, None
        if isinstance(factor, Atom) and factor.name == "relu" and exponent == 1:
            others = [m for m in factor.of.terms if m != CONSTANT]
            if len(others) != 1:
                return None
            own, at = others[0], -float(factor.of.terms.get(CONSTANT, 0.0))
        if base not in (None, own):
            return None
        base = own
        if at is None:
            slope = number
        else:
            bends[at] = number
    return None if base is None else (Formula({base: 1.0}), slope, shift, bends)


def _above_zero(x: Formula, slope: float, shift: float, bends: dict[float, float]) -> Formula:
    """Return max(f, 0), where f(x) = slope x + shift + Σ c relu(x - t), as such a sum again."""

    def f(at: float) -> float:
        return slope * at + shift + sum(c * max(at - t, 0.0) for t, c in bends.items())

    bent = sorted(bends)
    slopes = [slope + sum(bends[t] for t in bent[:k]) for k in range(len(bent) + 1)]
    crossings = []
    for k, steep in enumerate(slopes):
        low, high = (bent[k - 1] if k else -math.inf), (bent[k] if k < len(bent) else math.inf)
        near = low if k else high
        if abs(steep) > 1e-9:
            at = near - f(near) / steep
            if low < at < high and not any(math.isclose(at, t, rel_tol=1e-6, abs_tol=1e-9) for t in bent):
                crossings.append(at)
    edges = sorted([*bent, *crossings])
    within = [edges[0] - 1, *((a + b) / 2 for a, b in pairwise(edges)), edges[-1] + 1]
    kept = [slopes[sum(t < at for t in bent)] if f(at) > 0 else 0.0 for at in within]
    result = x * kept[0] + (max(f(edges[0]), 0.0) - kept[0] * edges[0])
    for edge, before, after in zip(edges, kept, kept[1:], strict=False):
        change = after - before
        if abs(change) > 1e-9:
            result = result + _atom("relu", x - edge) * change
    return result


def substituted(q: Formula, x: Rows, by: Formula) -> Formula:
    """Return the formula with another one in the place of rows."""
    result = Formula({})
    for monomial, coefficient in q.terms.items():
        product = Formula({CONSTANT: coefficient})
        for factor, exponent in monomial:
            if isinstance(factor, Atom):
                inner = FUNCTIONS[factor.name](substituted(factor.of, x, by))
            else:
                inner = by if factor is x else as_formula(factor)
            product = product * power(inner, exponent)
        result = result + product
    return result


FUNCTIONS: dict[str, Callable[[Formula], Formula]] = {
    "sigmoid": sigmoid,
    "softplus": softplus,
    "tanh": tanh,
    "erf": erf,
    "sin": sin,
    "cos": cos,
    "exp": exp,
    "log": log,
    "relu": relu,
    "positive": positive,
    "mean": mean,
    "max": largest,
    "of": lambda q: q,
}
