# Checks of the file of a frozen network by the same C as in libfastnn. Part of _engine.pyx.

import numpy as np

cimport numpy as cnp
from libc.string cimport memcpy

from fastnn._c cimport (
    FNN_PADDING, fnn_file_head, fnn_message, fnn_model, fnn_op, fnn_piece, fnn_read_head, fnn_read_model,
)


def check_frozen_file(bytes data not None):
    """Raise ValueError, with what is wrong as the end of a sentence, unless these bytes are a whole frozen network."""
    cdef fnn_file_head head
    cdef fnn_message message
    cdef fnn_model model
    cdef size_t size = len(data)
    if fnn_read_head(<const unsigned char *>data, size, &head, &message):
        raise ValueError(message.text.decode())
    cdef cnp.ndarray memory = aligned_zeros(size + FNN_PADDING * sizeof(double), np.uint8)
    cdef cnp.ndarray ops = np.zeros(head.op_count * sizeof(fnn_op), np.uint8)
    cdef cnp.ndarray pieces = np.zeros(head.op_count * sizeof(fnn_piece), np.uint8)
    memcpy(_data(memory), <const char *>data, size)
    if fnn_read_model(<const unsigned char *>_data(memory), &head, _kernels, <fnn_op *>_data(ops),
                      <fnn_piece *>_data(pieces), &model, &message):
        raise ValueError(message.text.decode())
