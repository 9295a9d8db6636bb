"""The arrays of a network as C: vectors of numbers, and matrices in float32, bfloat16 or int8."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._small_weights import to_bfloat16, to_int8
from fastnn.exchange._to_c_program import Constant, literal

Array = npt.NDArray[Any]


class Weights(NamedTuple):
    """How the elements of matrices are stored.

    Attributes
    ----------
    kind : str
        The C type of an element; ``"real"`` is that of the numbers of the network.
    value : str
        The C expression of the number that an element stands for, with ``{}`` in the element's place.
    """

    kind: str
    value: str


WEIGHTS = {
    "float32": Weights("real", "{}"),
    "float64": Weights("real", "{}"),
    "bfloat16": Weights("uint16_t", "NET(value)({})"),
    "int8": Weights("int8_t", "(real){}"),
}


class Constants:
    """The arrays of one file.

    Parameters
    ----------
    parameters : ndarray
        The flat buffer of a model's parameters.
    dtype : dtype
        The element type of the network in C.
    weights : str
        How matrices are stored, one of :data:`WEIGHTS`.

    Attributes
    ----------
    as_stored : ndarray
        The buffer with each matrix as the file has it: what a network of these parameters gives is what the C gives.
    place : int
        The number of the op that asks for arrays, which is a part of their names.
    bytes : int
        What the arrays need in memory.
    """

    def __init__(self, parameters: Array, dtype: npt.DTypeLike, weights: str) -> None:
        self.dtype = np.dtype(dtype)
        self.weights, self.place, self.bytes = weights, 0, 0
        self._parameters, self.as_stored = parameters, parameters.astype(self.dtype).astype(parameters.dtype)
        self._written: dict[tuple[str, bytes], str] = {}
        self._texts: dict[str, str] = {}

    def parameter(self, offset: int, size: int) -> Array:
        """Return parameters as numbers of the network in C."""
        return self._parameters[offset : offset + size].astype(self.dtype)

    def vector(self, role: str, values: Array) -> Constant:
        """Return the array of these numbers, which has the element type of the network."""
        return self._array(role, "real", values.astype(self.dtype).reshape(-1))

    def doubles(self, role: str, values: Array) -> Constant:
        """Return the array of these numbers, which are doubles whatever the element type of the network."""
        return self._array(role, "double", values.astype(np.float64))

    def integers(self, role: str, values: Array) -> Constant:
        """Return the array of these whole numbers from 0 on."""
        if values.size and values.max() >= 2**32:
            raise ValueError(f"the {role} of an op must be below 2**32 to be written as C, got {int(values.max())}")
        return self._array(role, "uint32_t", values.astype(np.uint32))

    def matrix(self, role: str, offset: int, shape: tuple[int, int], inputs: int) -> tuple[Constant, Array | None]:
        """Return a matrix among the parameters, and the scales of its columns where it is stored without them.

        Parameters
        ----------
        role : str
        offset : int
        shape : tuple of int
        inputs : int
            So many rows have scales of their own.
        """
        place = slice(offset, offset + shape[0] * shape[1])
        values = self._parameters[place].reshape(shape)
        scales: Array | None = None
        if self.weights == "bfloat16":
            stored: Array = to_bfloat16(values)
            self.as_stored[place] = (stored.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(-1)
        elif self.weights == "int8":
            if not np.isfinite(values).all():
                raise ValueError("weights='int8' needs finite weights, and a matrix of the model has NaN or infinity")
            stored, scales = to_int8(values, inputs)
            numbers = stored.reshape(-1, inputs, shape[1]) * scales[:, None].astype(values.dtype)
            self.as_stored[place] = numbers.reshape(-1)
        else:
            stored = values.astype(self.dtype)
        kind = WEIGHTS[self.weights].kind
        return self._array(role, kind, stored.reshape(-1)), scales

    def _array(self, role: str, kind: str, values: Array) -> Constant:
        """Return the name of an array; equal arrays are one."""
        key = (kind, values.tobytes())
        if key not in self._written:
            name = f"{role}_{self.place}"
            self._written[key] = name
            self._texts[name] = _definition(name, kind, values)
            self.bytes += values.nbytes
        return Constant(self._written[key])

    def text(self) -> str:
        """Return the definitions of all arrays."""
        return "\n".join(self._texts.values())


def _definition(name: str, kind: str, values: Array) -> str:
    """Return the definition of an array in C, in lines of at most 120 characters."""
    if values.dtype.kind == "f":
        suffix = "f" if values.dtype == np.float32 else ""
        numbers = [literal(float(value), suffix) for value in values]
    elif kind == "uint16_t":
        numbers = [f"0x{value:04x}" for value in values.tolist()]
    else:
        numbers = [str(value) for value in values.tolist()]
    if kind == "uint32_t":
        numbers = [f"{number}u" for number in numbers]
    lines, line = [], "   "
    for number in numbers:
        if len(line) + len(number) > 117:
            lines.append(line)
            line = "   "
        line += f" {number},"
    lines.append(line)
    body = "\n".join(lines)
    return f"static const {kind} NET({name})[{values.size}] = {{\n{body}\n}};\n"
