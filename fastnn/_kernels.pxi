# The rounded kernels of a frozen network on their way to C: fastnn._small_weights makes them. Part of _engine.pyx.

import numpy as np

cimport numpy as cnp

from fastnn._c cimport fnn_op, fnn_small_weights


cdef cnp.ndarray _set_kernels(fnn_op *ops, str weights, dict kernels):
    """Give ops their rounded kernels, fastnn._small_weights.Ordered; return the structs, which must outlive the ops."""
    cdef cnp.ndarray memory = np.zeros(max(1, len(kernels)) * sizeof(fnn_small_weights), np.uint8)
    cdef fnn_small_weights *target = <fnn_small_weights *>_data(memory)
    cdef Py_ssize_t at = 0
    for k, kernel in kernels.items():
        _check_kernel(&ops[<Py_ssize_t>k], kernel)
        target[at].kind = _number("weights", weights)
        target[at].numbers = _data(kernel.numbers)
        if kernel.scales is not None:
            target[at].scales = <const float *>_data(kernel.scales)
            target[at].sums = <const double *>_data(kernel.sums)
        ops[<Py_ssize_t>k].small = &target[at]
        at += 1
    return memory


cdef int _check_kernel(const fnn_op *op, kernel) except -1:
    """Check that the arrays of a kernel are as long as C reads them."""
    cdef size_t steps = (op.inputs + kernel.inputs - 1) // kernel.inputs
    cdef size_t columns = (op.outputs + kernel.lanes - 1) // kernel.lanes * kernel.lanes
    if kernel.shape != (op.inputs, op.outputs) or kernel.numbers.size != steps * kernel.inputs * columns:
        raise ValueError(f"a rounded kernel must have shape {(op.inputs, op.outputs)}, got {kernel.shape}")
    for array, dtype in ((kernel.scales, np.float32), (kernel.sums, np.float64)):
        if array is not None and (array.dtype != dtype or array.shape != (op.outputs,)
                                  or not array.flags.c_contiguous):
            raise ValueError(f"a rounded kernel must have {op.outputs} scales of float32 and sums of float64")
    return 0
