"""What :mod:`fastnn.constraints` has, under its path in Keras."""

from fastnn import constraints as _constraints
from fastnn._public import publish as _publish
from fastnn.constraints import *

_publish(__name__, _constraints.__all__)
