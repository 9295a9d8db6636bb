"""What :mod:`fastnn.metrics` has, under its path in Keras."""

from fastnn import metrics as _metrics
from fastnn._public import publish as _publish
from fastnn.metrics import *

_publish(__name__, _metrics.__all__)
