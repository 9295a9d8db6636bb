"""What :mod:`fastnn.saving` has, under its path in Keras."""

from fastnn import saving as _saving
from fastnn._public import publish as _publish
from fastnn.saving import *

_publish(__name__, _saving.__all__)
