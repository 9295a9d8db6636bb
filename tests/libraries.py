"""libfastnn as Python's ctypes calls it, for the tests of its files and functions."""

import ctypes

import numpy as np

from fastnn.predictor import get_library


def opened():
    """The library, with the types of its functions."""
    library = ctypes.CDLL(get_library())
    network, array, size = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
    library.fnn_load.argtypes, library.fnn_load.restype = [ctypes.c_char_p], network
    library.fnn_load_bytes.argtypes, library.fnn_load_bytes.restype = [ctypes.c_char_p, size], network
    library.fnn_free.argtypes, library.fnn_free.restype = [network], None
    for name in ("fnn_inputs", "fnn_outputs"):
        getattr(library, name).argtypes, getattr(library, name).restype = [network], size
    library.fnn_is_double.argtypes = [network]
    library.fnn_error_message.restype = library.fnn_library_version.restype = ctypes.c_char_p
    for name, arrays in {"predict": 1, "vjp": 3, "jvp": 3, "jacobian": 2, "hvp": 4}.items():
        getattr(library, f"fnn_{name}").argtypes = [network, array, size, *[array] * arrays]
    return library


class Loaded:
    """A network that the library has loaded, called with arrays; it is freed at the end of a `with`."""

    def __init__(self, library, data):
        self.library, self.handle = library, library.fnn_load_bytes(data, len(data))
        if not self.handle:
            raise ValueError(library.fnn_error_message().decode())
        self.inputs, self.outputs = library.fnn_inputs(self.handle), library.fnn_outputs(self.handle)
        self.dtype = np.dtype("float64" if library.fnn_is_double(self.handle) else "float32")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.library.fnn_free(self.handle)

    def __call__(self, x):
        return self._called("predict", x, self.outputs)[0]

    def vjp(self, x, u):
        return self._called("vjp", x, self.outputs, self.inputs, first=[u])

    def jvp(self, x, v):
        return self._called("jvp", x, self.outputs, self.outputs, first=[v])

    def hvp(self, x, v, u):
        return self._called("hvp", x, self.outputs, self.inputs, first=[v, u])

    def jacobian(self, x):
        jacobian = self._called("jacobian", x, self.outputs, self.outputs * self.inputs)[1]
        return jacobian.reshape(len(x), self.outputs, self.inputs)

    def _called(self, name, x, *widths, first=()):
        given = [np.ascontiguousarray(one, self.dtype) for one in (x, *first)]
        made = [np.full((len(x), width), np.nan, self.dtype) for width in widths]
        x, *others = [array.ctypes.data for array in (*given, *made)]
        if getattr(self.library, f"fnn_{name}")(self.handle, x, len(given[0]), *others):
            raise MemoryError(self.library.fnn_error_message().decode())
        return made
