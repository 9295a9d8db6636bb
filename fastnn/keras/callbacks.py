"""What :mod:`fastnn.callbacks` has, under its path in Keras."""

from fastnn import callbacks as _callbacks
from fastnn._public import publish as _publish
from fastnn.callbacks import *

_publish(__name__, _callbacks.__all__)
