"""The BLAS that SciPy brings: where its functions lie, how many threads it uses, and what it calls itself."""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

# Prefixes and suffixes of OpenBLAS's own functions: those of SciPy's wheels, of NumPy's, of systems.
_AFFIXES = (("scipy_", ""), ("scipy_", "64_"), ("", "64_"), ("", ""))
_GEMM = r"void \(char \*, char \*(, int \*){3}(, \w+ \*){2}, int \*, \w+ \*, int \*(, \w+ \*){2}, int \*\)"


@dataclass(frozen=True)
class Blas:
    """A BLAS whose threads can be limited.

    Attributes
    ----------
    sgemm, dgemm : int
        The addresses of Fortran's functions.
    name : str
        What the library says of itself.
    get_threads, set_threads : callable
        The number of threads that a call uses, for the whole process.
    """

    sgemm: int
    dgemm: int
    name: str
    get_threads: Callable[[], int]
    set_threads: Callable[[int], object]


def _address(capsules: dict[str, object], function: str) -> int:
    """The address in one of Cython's capsules, whose name is the function's type."""
    of_name, of_pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    of_name.restype, of_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    of_pointer.restype, of_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    name: bytes = of_name(capsules[function])
    if not re.fullmatch(_GEMM, name.decode()):
        raise OSError(f"SciPy's {function} takes other arguments than 32-bit integers: {name.decode()}")
    return int(of_pointer(capsules[function], name))


@functools.cache
def load() -> Blas:
    """SciPy's BLAS, or an OSError that says why products cannot go there.

    Its own threads must be limited to one while the engine's call it: only OpenBLAS is known to let that be done.
    """
    from scipy.linalg import cython_blas

    # What that depends on is found as well. Python's own lock is held during a call: nobody else changes threads then.
    library = ctypes.PyDLL(cython_blas.__file__)
    for before, after in _AFFIXES:
        if hasattr(library, f"{before}openblas_get_config{after}"):
            get_config = library[f"{before}openblas_get_config{after}"]
            get_config.restype = ctypes.c_char_p
            set_threads = library[f"{before}openblas_set_num_threads{after}"]
            set_threads.argtypes = [ctypes.c_int]
            get_threads = library[f"{before}openblas_get_num_threads{after}"]
            capsules, name = cython_blas.__pyx_capi__, get_config().decode().strip()
            return Blas(_address(capsules, "sgemm"), _address(capsules, "dgemm"), name, get_threads, set_threads)
    raise OSError("SciPy's BLAS is not OpenBLAS, and the threads of others cannot be limited")
