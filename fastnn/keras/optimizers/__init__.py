"""What :mod:`fastnn.optimizers` has, under its path in Keras."""

from fastnn import optimizers as _optimizers
from fastnn._public import publish as _publish
from fastnn.optimizers import *

_publish(__name__, _optimizers.__all__)
