"""What :mod:`fastnn.optimizers.schedules` has, under its path in Keras."""

from fastnn._public import publish as _publish
from fastnn.optimizers import schedules as _schedules
from fastnn.optimizers.schedules import *

_publish(__name__, _schedules.__all__)
