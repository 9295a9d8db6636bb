# The names that Python has for what C numbers. Part of _engine.pyx.

from fastnn._op import Traits

from libc.string cimport memset

from fastnn._c cimport FNN_MATRIX, fnn_name_count, fnn_names, fnn_op, fnn_traits, fnn_traits_of


def _read_names():
    enums = {}
    for k in range(fnn_name_count):
        enums.setdefault(fnn_names[k].list.decode(), {})[fnn_names[k].name.decode()] = fnn_names[k].number
    return enums


_ENUMS = _read_names()  # by list, such as "loss" or "optimizer", the number of each name


cdef int _number(str list_name, name) except -1:
    """Return the number that C has for a name of one of the enums in src_c."""
    try:
        return _ENUMS[list_name][name]
    except KeyError:
        from fastnn._registry import nearest_names
        near = nearest_names(str(name), list(_ENUMS[list_name]))
        raise ValueError(f"the engine has no {list_name} named {name!r}; {near}") from None


def op_traits(str name not None):
    """Return what the engine's table of ops says of the op of this name: a fastnn._op.Traits."""
    cdef fnn_op op
    memset(&op, 0, sizeof(fnn_op))
    op.code = _number("op", name)
    cdef const fnn_traits *traits = fnn_traits_of(&op)
    return Traits(traits.kernel == FNN_MATRIX, traits.is_noise != 0, traits.uses_batch != 0)
