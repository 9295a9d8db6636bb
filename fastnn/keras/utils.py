"""What :mod:`fastnn.utils` has, under its path in Keras."""

from fastnn import utils as _utils
from fastnn._public import publish as _publish
from fastnn.utils import *

_publish(__name__, _utils.__all__)
