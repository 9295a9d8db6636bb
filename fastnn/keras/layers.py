"""What :mod:`fastnn.layers` has, under its path in Keras."""

from fastnn import layers as _layers
from fastnn._public import publish as _publish
from fastnn.layers import *

_publish(__name__, _layers.__all__)
