"""What :mod:`fastnn.config` has, under its path in Keras."""

from fastnn import config as _config
from fastnn._public import publish as _publish
from fastnn.config import *

_publish(__name__, _config.__all__)
