"""What :mod:`fastnn.initializers` has, under its path in Keras."""

from fastnn import initializers as _initializers
from fastnn._public import publish as _publish
from fastnn.initializers import *

_publish(__name__, _initializers.__all__)
