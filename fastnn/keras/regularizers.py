"""What :mod:`fastnn.regularizers` has, under its path in Keras."""

from fastnn import regularizers as _regularizers
from fastnn._public import publish as _publish
from fastnn.regularizers import *

_publish(__name__, _regularizers.__all__)
