"""What :mod:`fastnn.activations` has, under its path in Keras."""

from fastnn import activations as _activations
from fastnn._public import publish as _publish
from fastnn.activations import *

_publish(__name__, _activations.__all__)
