"""Networks of others come in, and networks go out: a format a module, read and written without running anything in it.

Readers return layers, weights and what was compiled, of which :mod:`fastnn.models` makes models. Writers are asked by
the methods of :mod:`fastnn.exports`. A neighbour's package is imported when a function needs it, never before.
"""
