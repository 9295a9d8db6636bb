"""SciPy's BLAS: the addresses of its products, and the switch of its threads. Loaded when a model first needs it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import NamedTuple

# (setter, getter, version) of the libraries that SciPy is built with; the symbols are found through cython_blas, which
# is linked to one of them. OpenBLAS in SciPy's wheels carries a prefix.
_CONTROLS = (
    ("scipy_openblas_set_num_threads", "scipy_openblas_get_num_threads", "scipy_openblas_get_config"),
    ("openblas_set_num_threads", "openblas_get_num_threads", "openblas_get_config"),
    ("bli_thread_set_num_threads", "bli_thread_get_num_threads", "bli_info_get_version_str"),
    ("MKL_Set_Num_Threads", "MKL_Get_Max_Threads", ""),
)


class Blas(NamedTuple):
    """The library behind ``scipy.linalg.cython_blas``."""

    sgemm: int
    dgemm: int
    name: str
    set_num_threads: Callable[[int], None] | None
    get_num_threads: Callable[[], int] | None


def _address(capsules: dict[str, object], name: str) -> int:
    capsule = capsules[name]
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(get_pointer(capsule, get_name(capsule)))


def _load() -> Blas:
    from scipy.linalg import cython_blas

    library = ctypes.CDLL(cython_blas.__file__)
    name, setter, getter = "unknown", None, None
    for set_name, get_name, version_name in _CONTROLS:
        if hasattr(library, set_name) and hasattr(library, get_name):
            setter, getter = getattr(library, set_name), getattr(library, get_name)
            setter.argtypes, setter.restype, getter.restype = [ctypes.c_int], None, ctypes.c_int
            name = set_name.split("_set")[0].split("_Set")[0]
            if version_name and hasattr(library, version_name):
                version = getattr(library, version_name)
                version.restype = ctypes.c_char_p
                name = version().decode()
            break
    capsules = cython_blas.__pyx_capi__
    return Blas(_address(capsules, "sgemm"), _address(capsules, "dgemm"), name, setter, getter)


_lock = threading.Lock()
_blas: Blas | None = None
_users = 0
_threads_before = 0


def load() -> Blas:
    """The BLAS of SciPy, imported at the first call."""
    global _blas
    with _lock:
        if _blas is None:
            _blas = _load()
        return _blas


class OneThread:
    """A context in which BLAS runs each call on the calling thread; the setting before comes back with the last exit.

    Our own team calls BLAS from several threads at once, and a pool under a pool would only be in its way.
    """

    def __enter__(self) -> None:
        global _users, _threads_before
        blas = load()
        with _lock:
            if _users == 0 and blas.get_num_threads is not None and blas.set_num_threads is not None:
                _threads_before = int(blas.get_num_threads())
                blas.set_num_threads(1)
            _users += 1

    def __exit__(self, *exception: object) -> None:
        global _users
        blas = load()
        with _lock:
            _users -= 1
            if _users == 0 and blas.set_num_threads is not None:
                blas.set_num_threads(_threads_before)
