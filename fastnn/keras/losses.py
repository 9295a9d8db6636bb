"""What :mod:`fastnn.losses` has, under its path in Keras."""

from fastnn import losses as _losses
from fastnn._public import publish as _publish
from fastnn.losses import *

_publish(__name__, _losses.__all__)
