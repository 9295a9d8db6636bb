"""Gradients in half the bytes, and what rounding them has left out so far."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Rounded = npt.NDArray[np.uint16]


class Rounding:
    """Rounds float32 to bfloat16, to nearest and ties to even, with error feedback.

    What rounding takes away from an element is added to that element of the next array, so that the sum over the steps
    is off by at most one rounding (Seide et al. 2014, 1-bit SGD; Karimireddy et al. 2019, arXiv:1901.09847).
    """

    def __init__(self) -> None:
        self._left: dict[str, Array] = {}

    def rounded(self, name: str, array: Array) -> Rounded:
        """Return an array with what is left of the last one under this name, rounded; `array` gets the rounded values.

        Parameters
        ----------
        name : str
        array : ndarray of float32, shape (n,)
        """
        left = self._left.get(name)
        if left is not None and left.shape == array.shape:
            array += left
        else:
            left = self._left[name] = np.empty_like(array)
        bits = array.view(np.uint32)
        nearest = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        nearest = np.where(np.isfinite(array), nearest, bits | np.uint32(0x400000) * np.isnan(array))
        result = (nearest >> np.uint32(16)).astype(np.uint16)
        wide = self.widened(result)
        np.subtract(array, wide, out=left)
        left[~np.isfinite(left)] = 0
        array[...] = wide
        return result

    @staticmethod
    def widened(rounded: Rounded) -> Array:
        """Return bfloat16 as float32."""
        return (rounded.astype(np.uint32) << np.uint32(16)).view(np.float32)
